"""Conducting an experiment, with a bed that only counts: what is run, kept, continued and refused."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import conduct as module
from bench.cli import run as command
from bench.conduct import conduct, missing, needed, runs_of
from bench.experiment import Experiment
from bench.results import load, read
from bench.run import Sample
from bench.traffic import Traffic
from bench.variant import Origin, Variant
from steering.errors import BadInput, OversprayError

A, B = "flannel/none", "flannel/local"
WHOLE = 2 * 2 * 3 * 2
"""Runs: batches, points, rounds, variants."""


def experiment(**others: Any) -> Experiment:
    asked = {"title": "t", "question": "q", "variants": (A, B), "baseline": A, "pairs": ((B, A),)}
    traffic = {"payload": [18, 64]}
    return Experiment(**{**asked, "rounds": 3, "batches": 2, "seconds": 0.5, "traffic": traffic, **others})


def measured(variant: Variant, number: int, rate: float = 1e6) -> Sample:
    return Sample(
        **{"variant": str(variant), "round": number, "seconds": 0.5, "offered": 10, "delivered": 10},
        **{"bytes": 180, "rate": rate, "offered_rate": rate, "drops": {}, "order": {}, "latency": {}},
        **{"cores": {"0": {"idle": 0.5, "softirq": 0.5}}, "per_packet": {}, "wire_share": 0.1},
        **{"limited": False, "settings": {"nic0 mtu": "1600"}},  # type: ignore[arg-type]
    )


class Beds:
    """What was done; ``fail_after`` so many counted runs the next one ends as ^C or an error does."""

    def __init__(self) -> None:
        self.made: list[Traffic] = []
        self.ran: list[tuple[int, str]] = []
        self.fail_after: int | None = None
        self.error: BaseException = KeyboardInterrupt()

    @contextmanager
    def bed(self, variants: list[Variant], traffic: Traffic, **others: Any) -> Iterator[None]:
        assert others == {
            "containers": 1,
            "mtu": 1500,
            "ip": 4,
            "outer_ip": 4,
            "sink": "count",
            "nic_core": None,
        }
        self.made.append(traffic)
        yield

    def run(self, _: Any, variant: Variant, seconds: float, warm_up: float, number: int) -> Sample:
        if number >= 0:
            if len(self.ran) == self.fail_after:
                raise self.error
            self.ran.append((number, str(variant)))
        return measured(variant, number)


@pytest.fixture
def beds(monkeypatch: pytest.MonkeyPatch) -> Beds:
    made = Beds()
    monkeypatch.setattr(module, "Bed", made.bed)
    monkeypatch.setattr(module, "run", made.run)
    return made


def go(directory: Path, asked: Experiment | None = None) -> list[str]:
    said: list[str] = []
    conduct(asked or experiment(), directory, "overspray bench t.toml", said.append)
    return said


def keys(directory: Path) -> list[tuple[int, Any, int, str]]:
    found = read(directory).samples
    return [(each["batch"], each["point"]["payload"], each["round"], each["variant"]) for each in found]


def test_every_run_is_kept_with_its_batch_and_point(beds: Beds, tmp_path: Path) -> None:
    said = go(tmp_path / "out")
    found = keys(tmp_path / "out")
    assert len(found) == len(set(found)) == WHOLE
    assert [each[:2] for each in found[:: WHOLE // 4]] == [(0, 18), (0, 64), (1, 18), (1, 64)]
    assert [traffic.payload for traffic in beds.made] == [18, 64, 18, 64]
    assert said[0] == "batch 1/2: payload 18: round 1/3: 1.00, 1.00 Mpps" and len(said) == 12
    kept = load(tmp_path / "out")
    assert kept.description["command"] == "overspray bench t.toml" and kept.after is not None
    assert {sample["session"] for sample in kept.samples} == {1}


def test_stretches_have_orders_of_their_own(beds: Beds, tmp_path: Path) -> None:
    go(tmp_path, experiment(rounds=8))
    orders = [tuple(name for _, name in beds.ran[at : at + 16]) for at in range(0, 64, 16)]
    assert len(set(orders)) == 4


@pytest.mark.parametrize("after", [0, 1, 3, 6, 13, WHOLE - 1])
def test_broken_off_it_goes_on_with_what_is_missing(beds: Beds, tmp_path: Path, after: int) -> None:
    go(tmp_path / "whole")
    whole = beds.ran
    beds.ran, beds.fail_after = [], after
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "broken")
    assert len(keys(tmp_path / "broken")) == after
    assert read(tmp_path / "broken").after is not None, "an interrupt leaves time for it"
    left = missing(experiment(), tmp_path / "broken")
    assert runs_of(experiment(), left) == WHOLE - after
    assert needed(experiment(), left) <= needed(experiment(), missing(experiment(), tmp_path / "none"))
    beds.fail_after = None
    go(tmp_path / "broken")
    assert beds.ran == whole, "in the same order, each once"
    assert keys(tmp_path / "broken") == keys(tmp_path / "whole")
    assert [each["session"] for each in read(tmp_path / "broken").samples] == [1] * after + [2] * (
        WHOLE - after
    )
    with pytest.raises(BadInput, match="is finished: type 'overspray report "):
        go(tmp_path / "broken")


def test_a_torn_line_is_measured_again(beds: Beds, tmp_path: Path) -> None:
    go(tmp_path)
    file = tmp_path / "samples.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    beds.ran = []
    go(tmp_path)
    assert len(beds.ran) == 1
    assert len(set(keys(tmp_path))) == WHOLE
    assert (tmp_path / "torn-1.txt").read_text().startswith('{"variant": "flannel/')


def test_killed_before_the_first_fingerprint_it_goes_on(beds: Beds, tmp_path: Path) -> None:
    beds.fail_after = 0
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path)
    for file in tmp_path.glob("fingerprint-*"):
        file.unlink()
    beds.fail_after = None
    go(tmp_path)
    assert len(load(tmp_path).samples) == WHOLE


@pytest.mark.parametrize(
    "change", [{"rounds": 4}, {"seed": 2}, {"traffic": {"payload": [18, 65]}}, {"title": "u"}]
)
def test_another_description_is_refused(beds: Beds, tmp_path: Path, change: dict[str, Any]) -> None:
    beds.fail_after = 1
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path)
    [name] = change
    with pytest.raises(BadInput, match=rf"holds another experiment \({name} differ\): name a new directory"):
        go(tmp_path, experiment(**change))


@pytest.mark.parametrize("edit", [{"kernel": "1.2.3"}, {"cpu": "abacus"}])
def test_another_host_is_refused(beds: Beds, tmp_path: Path, edit: dict[str, str]) -> None:
    beds.fail_after = 1
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path)
    file = tmp_path / "fingerprint-before.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **edit}))
    [(name, value)] = edit.items()
    with pytest.raises(BadInput, match=rf"was measured on another host \({name}: {value}, "):
        go(tmp_path)
    assert len(read(tmp_path).samples) == 1


def test_only_one_goes_on_in_a_directory(beds: Beds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[str] = []

    def pause(*_: object) -> None:
        with pytest.raises(OversprayError, match="is being measured by another process"):
            go(tmp_path)
        others.append("refused")

    monkeypatch.setattr(module, "_pause", pause)
    go(tmp_path)
    assert others == ["refused"] and len(set(keys(tmp_path))) == WHOLE


def test_an_error_leaves_what_was_saved(beds: Beds, tmp_path: Path) -> None:
    beds.fail_after, beds.error = 5, OversprayError("no packet arrived")
    with pytest.raises(OversprayError, match="no packet arrived"):
        go(tmp_path)
    assert len(load(tmp_path).samples) == 5


def test_what_can_not_be_made_leaves_no_directory(
    beds: Beds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OversprayError("another lab is in use")

    monkeypatch.setattr(module, "Bed", refuse)
    with pytest.raises(OversprayError, match="in use"):
        go(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_something_else_in_the_directory_is_left_alone(beds: Beds, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(BadInput, match="is not empty, and results are never overwritten"):
        go(tmp_path)


def test_between_batches_it_pauses(beds: Beds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        assert len(beds.ran) % (WHOLE // 2) == 0
        clock[0] += seconds
        slept.append(seconds)

    monkeypatch.setattr(module, "time", type("Clock", (), {"monotonic": lambda: clock[0], "sleep": sleep}))
    go(tmp_path, experiment(pause=2.5))
    assert sum(slept) == 2.5
    asked = experiment(pause=100.0)
    assert (
        needed(asked, missing(asked, tmp_path / "x")) - needed(experiment(), missing(asked, tmp_path / "x"))
        == 100
    )


def test_what_stands_for_stock_best_is_a_matter_of_the_point(
    beds: Beds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results keep both names, and go on under the one that was asked for."""
    asked = experiment(variants=("flannel/stock-best", B), baseline=B, batches=1, pairs=())
    best = {18: "flannel/rps", 64: "flannel/none+gro"}

    def resolved(variants: list[Variant], sent: dict[str, int], core: int | None, say: Any) -> list[Variant]:
        assert (sent["flows"], sent["batch"], core) == (1, 128, None)
        stands_for = Variant.parse(best[sent["payload"]])
        return [replace(stands_for, origin=Origin("flannel/stock-best", "some.json")), variants[1]]

    monkeypatch.setattr(module, "resolved", resolved)
    beds.fail_after = 5
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "d", asked)
    beds.fail_after = None
    go(tmp_path / "d", asked)
    samples = read(tmp_path / "d").samples
    assert len(samples) == 2 * 3 * 2
    for each in samples:
        if each["variant"] == B:
            assert "stands_for" not in each
        else:
            assert each["variant"] == "flannel/stock-best"
            assert each["stands_for"] == best[each["point"]["payload"]]


def test_without_a_sweep_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "t.toml"
    file.write_text('variants = ["flannel/stock-best", "flannel/local"]')
    assert command(["bench", str(file), "--dry-run"]) == 2
    with pytest.raises(BadInput, match="type 'overspray stock-best --case flannel --payload 18 "):
        go(tmp_path / "d", Experiment.of_file(file))
    assert not (tmp_path / "d").exists()
