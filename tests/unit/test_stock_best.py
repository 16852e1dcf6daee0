"""`stock-best`: what is tried, who stays, what is saved, and what a later comparison finds of it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import best_file, stock_best
from bench.best_file import FOLDER, Saving, add_origins, key, load, place, resolved
from bench.cli import run
from bench.fingerprint import fingerprint
from bench.rounds import Timing
from bench.run import Sample
from bench.stock_best import FINALISTS, candidates, lines, possible, stages, sweep
from bench.traffic import Traffic
from bench.variant import Variant
from steering import cores, doctor
from steering.errors import BadInput, OversprayError

TRAFFIC = Traffic()
NIC_CORE = cores.usable()[0]
SAMPLE = Sample(
    variant="",
    round=0,
    seconds=0.5,
    offered=1000,
    delivered=1000,
    bytes=18000,
    rate=0,
    offered_rate=1e6,
    drops={},
    order={},
    latency={},
    cores={"0": {"idle": 1.0}},
    per_packet={},
    wire_share=0.1,
    limited=False,
    settings={},
)
NOISE = [1.0, 0.99, 1.01, 1.0, 0.98, 1.02, 1.0, 1.0, 1.0]


def quiet(_: str) -> None:
    """What is said along the way is for a person."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Machine:
    """Takes the place of the bed: each variant has its rate; who was measured with whom is kept."""

    nic_core = NIC_CORE

    def __init__(self) -> None:
        self.met: list[tuple[int, list[str]]] = []
        self.invalid: set[str] = set()

    @staticmethod
    def rate(variant: Variant) -> float:
        """The later in the alphabet the better; with lists far better."""
        names = {spec.name for spec in variant.coalescing}
        return 1e6 + sum(map(ord, str(variant))) + 1e6 * ("gro-list" in names)

    def rounds(
        self, _bed: object, left: Sequence[Variant], timing: Timing, _: object
    ) -> Iterator[list[Sample]]:
        self.met.append((timing.rounds, [*map(str, left)]))
        for number in range(timing.rounds):
            yield [
                replace(
                    SAMPLE,
                    variant=str(each),
                    round=number,
                    rate=self.rate(each) * NOISE[number],
                    invalid=["lost"] * (str(each) in self.invalid),
                )
                for each in left
            ]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()

    @contextmanager
    def bed(*_: object, mtu: int) -> Iterator[Machine]:
        yield made

    monkeypatch.setattr(stock_best, "Bed", bed)
    monkeypatch.setattr(stock_best, "rounds", made.rounds)
    return made


def swept(variants: Sequence[Variant], traffic: Traffic = TRAFFIC) -> dict[str, Any]:
    with Saving(place(variants[0].case, key(traffic))) as saving:
        return sweep(variants, traffic, Timing(9, 0.5), None, {"mtu": 1500}, saving, quiet, quiet)


def test_all_combinations_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable", lambda: [0, 2, 3])
    found = candidates("flannel", 2)
    # Without RPS, or at one of 7 choices of devices with 2 masks; 4 GRO kinds; no threads, or with 2 masks.
    assert len({*map(str, found)}) == len(found) == (1 + 7 * 2) * 4 * 3
    assert {"flannel/none", "flannel/rps-vxlan:mask=9+gro-list", "flannel/rps:mask=d,veth=d,vxlan=d"} <= {
        *map(str, found)
    }
    for each in found:
        each.check(2)
    assert len(candidates("linux", 2)) == (1 + 3 * 2) * 4 * 3, "no containers' ends"
    native = candidates("native", 2)
    assert len(native) == (1 + 2) * 4 * 3
    for each in (*native, *candidates("linux", 2)):
        each.check(2)


def test_rss_has_something_to_spread_and_rfs_somebody_to_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable", lambda: [0, 2, 3])
    plain = {*map(str, candidates("linux", 2))}
    read = {*map(str, candidates("linux", 2, is_read=True))}
    assert read - plain >= {"linux/rfs", "linux/rfs-vxlan+gro-list"} and len(read - plain) == 2 * 4 * 3
    many = candidates("linux", 2, flows=4, is_read=True)
    assert {each.steering.name for each in many} == {"none", "rps", "rps-vxlan", "rss"}
    for each in (*many, *candidates("flannel", 2, is_read=True)):
        each.check(2)


def test_a_sweep_with_a_reader_is_another_one() -> None:
    assert place("flannel", key(TRAFFIC, sink="read:core=1")).name.startswith(
        "flannel-payload=18-flows=1-batch=128-sink=read-"
    )
    assert key(TRAFFIC, sink="app:run=cat") == key(TRAFFIC, sink="read") != key(TRAFFIC, sink="count")
    with pytest.raises(BadInput, match=r"stock-best --case flannel --payload 18 .* --sink read"):
        resolved([Variant.parse("flannel/stock-best")], key(TRAFFIC, sink="read"), None, quiet)


def test_on_one_core_there_is_one_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable", lambda: [2])
    assert {each.steering.args.get("mask") for each in candidates("native", 2)} == {None, "4"}


def test_what_this_host_can_not_do_is_left_out_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    def examine(*names: str) -> list[doctor.Row]:
        return [doctor.Row(name, name != "threaded NAPI", "no", "", "boot", False) for name in names]

    monkeypatch.setattr(doctor, "examine", examine)
    said: list[str] = []
    found = possible(candidates("native", NIC_CORE), said.append)
    assert found and not any("threaded" in str(each) for each in found)
    assert said == ["left out, not possible here: threaded NAPI: no: boot"]


def test_the_fewer_there_are_the_more_rounds_they_get() -> None:
    found = stages(180, Timing(9, 0.5))
    assert [(count, turn.rounds) for count, turn in found] == [(180, 2), (45, 4), (12, 6), (4, 9)]
    assert [turn.seconds for _, turn in found] == [0.1, 0.1, 0.1, 0.5]
    assert stages(FINALISTS, Timing(9, 0.5)) == [(FINALISTS, Timing(9, 0.5))]
    assert {turn.rounds for _, turn in stages(180, Timing(1, 0.05))} == {1}


def test_the_best_is_found_and_so_is_the_best_without_lists(machine: Machine) -> None:
    variants = candidates("flannel", NIC_CORE)
    saved = swept(variants)
    best = sorted(variants, key=machine.rate, reverse=True)
    plain = [each for each in best if "gro-list" not in str(each)]
    assert saved["best"][""]["variant"] == str(best[0])
    assert saved["best"]["gro-list"]["variant"] == str(plain[0])
    assert saved["best"]["gro-list"]["next"] == str(plain[1])
    rounds, last = machine.met[-1]
    assert rounds == 9 and {*last} == {*map(str, best[:FINALISTS]), *map(str, plain[:2])}
    assert len(machine.met[0][1]) == len(variants)
    [file] = FOLDER.iterdir()
    kept = json.loads(file.read_text())
    measured = sum(rounds * len(names) for rounds, names in machine.met)
    assert sum(len(stage["samples"]) for stage in kept["stages"]) == measured, "every sample"
    text = "\n".join(lines(saved))
    assert f"best of stock: {best[0]}, " in text and "best of stock without gro-list: " in text
    assert "times the next, " in text and "equivalent: either may be the best" in text


def test_an_invalid_one_never_wins(machine: Machine) -> None:
    variants = [Variant.parse(f"flannel/{text}") for text in ("none", "rps", "none+gro-list")]
    machine.invalid.add("flannel/none+gro-list")
    best = max(variants[:2], key=machine.rate)
    assert swept(variants)["best"][""]["variant"] == str(best)
    machine.invalid.update(map(str, variants))
    with pytest.raises(OversprayError, match="no variant had valid runs alone"):
        swept(variants, Traffic(flows=2))
    assert len(list(FOLDER.iterdir())) == 1, "nothing half is left"


def test_only_stock_is_swept(machine: Machine) -> None:
    with pytest.raises(BadInput, match="'flannel/local' is not stock Linux: choose from none, rss, rps"):
        swept([Variant.parse("flannel/local")])


def saved_as(name: str, **changed: object) -> Path:
    """A sweep's file, as one that was measured here."""
    best = {"": {"variant": "flannel/rps+gro-list"}, "gro-list": {"variant": "flannel/rps-vxlan+gro"}}
    found = {
        **{"what": best_file.WHAT, "format": best_file.FORMAT, "case": "flannel", "best": best},
        **{"nic_core": NIC_CORE, "fingerprint": {"before": fingerprint()}},
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / name
    file.write_text(json.dumps({**found, **changed}))
    return file


NAME = "flannel-payload=18-flows=1-batch=128-20261128-120000.json"


def looked_up(text: str, traffic: Traffic = TRAFFIC) -> Variant:
    [found] = resolved([Variant.parse(text)], key(traffic), None, quiet)
    return found


def test_it_stands_for_the_best_of_the_newest_sweep() -> None:
    said: list[str] = []
    saved_as(NAME.replace("-12", "-11"), best={"": {"variant": "flannel/none"}})
    saved_as(NAME)
    saved_as(NAME.replace("flows=1", "flows=2").replace("-12", "-13"), best={"": {"variant": "flannel/none"}})
    asked = [Variant.parse("flannel/stock-best"), Variant.parse("flannel/local")]
    found, other = resolved(asked, key(Traffic(rate=1000)), None, said.append)
    assert str(found) == "flannel/rps+gro-list" and found == Variant.parse("flannel/rps+gro-list")
    assert said == [f"flannel/stock-best is flannel/rps+gro-list ({FOLDER / NAME})"]
    assert other == asked[1]
    assert str(looked_up("flannel/stock-best:without=gro-list")) == "flannel/rps-vxlan+gro"
    assert str(looked_up("flannel/stock-best", Traffic(flows=2))) == "flannel/none"
    report: dict[str, Any] = {"warnings": []}
    add_origins(report, [found, other])
    assert report["named"] == {"a": {"text": "flannel/stock-best", "file": str(FOLDER / NAME)}}
    assert report["warnings"] == []


def test_other_ip_versions_have_sweeps_of_their_own() -> None:
    saved_as(NAME)
    assert key(TRAFFIC, 4, 4) == key(TRAFFIC) == {"payload": 18, "flows": 1, "batch": 128}
    with pytest.raises(
        BadInput, match="--case flannel --payload 18 --flows 1 --batch 128 --ip 6 --outer-ip 6"
    ):
        resolved([Variant.parse("flannel/stock-best")], key(TRAFFIC, 6, 6), None, quiet)


def test_a_sweep_of_another_host_is_said() -> None:
    before = {**fingerprint(), "cpu": "another", "kernel": "2.4"}
    saved_as(NAME, fingerprint={"before": before})
    found = looked_up("flannel/stock-best")
    report: dict[str, Any] = {"warnings": ["old"]}
    add_origins(report, [found, found])
    assert report["warnings"][0] == "old" and len(report["warnings"]) == 5
    assert "made on another host: kernel 2.4, here " in report["warnings"][1]
    assert "made on another host: cpu another, here " in report["warnings"][2]
    saved_as(NAME, nic_core=4000)
    [warning] = looked_up("flannel/stock-best").origin.warnings  # type: ignore[union-attr]
    assert f"made with the NIC on core 4000, here {NIC_CORE}" in warning


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("flannel/stock-best+gro", "stock-best has its own settings: its one knob is without=gro-list"),
        ("flannel/stock-best:mask=1", "stock-best has its own settings"),
        ("flannel/stock-best:without=gro", "does not tell: choose without=gro-list"),
        (
            "docker/stock-best",
            "type 'overspray stock-best --case docker --payload 18 --flows 1 --batch 128'",
        ),
    ],
)
def test_what_it_does_not_stand_for(text: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also as a person is told: in one line."""
    saved_as(NAME)
    assert run(["ab", text, "flannel/local"]) == 2
    said = capsys.readouterr()
    assert told in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"what": "something"}, "is no sweep of stock-best"),
        ({"format": 2}, "has format 2, of another overspray"),
        ({"best": {}}, "is damaged"),
        ({"best": {"": {}}}, "is damaged"),
        ({"best": []}, "is damaged"),
        ({"best": {"": {"variant": "flannel/local"}}}, "is damaged: 'flannel/local' is no stock variant"),
        (
            {"best": {"": {"variant": "docker/none"}}},
            "is damaged: 'docker/none' is no stock variant of",
        ),
        ({"best": {"": {"variant": "moon/none"}}}, "is damaged: unknown case 'moon'"),
        ({"fingerprint": {"before": {}}}, "is damaged"),
        ({"fingerprint": 7}, "is damaged"),
    ],
)
def test_what_is_no_sweep_is_one_line(
    changed: dict[str, object], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    saved_as(NAME, **changed)
    assert run(["ab", "flannel/stock-best", "flannel/local"]) == 2
    said = capsys.readouterr()
    assert f"'{FOLDER / NAME}' {told}" in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]"])
def test_a_damaged_file_is_named(content: bytes) -> None:
    file = saved_as(NAME)
    file.write_bytes(content)
    with pytest.raises(BadInput, match=f"'{file}' is "):
        load(file)


def test_a_sweep_is_never_overwritten() -> None:
    file = saved_as(NAME)
    text = file.read_text()
    with pytest.raises(BadInput, match="is there already, and sweeps are never overwritten"):
        Saving(file)
    with Saving(file.with_name("other.json")) as saving:
        saving.path.write_text("mine")
        with pytest.raises(BadInput, match="is there already"):
            saving.save({})
        assert saving.path.read_text() == "mine"
    with pytest.raises(BadInput, match="can't make"):
        Saving(file / "below")
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted([NAME, "other.json"])
    assert file.read_text() == text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--case", "moon"), "unknown case 'moon'"),
        (("--among", "none", "--among", "glue"), "unknown steering 'glue'"),
        (("--case", "native", "--among", "rps-veth"), "devices that this case"),
        (("--seconds", "0"), "seconds 0"),
        (("--payload", "17"), "payload 17"),
        (("--core", "4096"), "core 4096"),
    ],
)
def test_it_says_in_one_line_what_can_not_be(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["stock-best", *arguments]) == 2
    said = capsys.readouterr()
    assert told in said.err and said.err.count("\n") == 1
    assert not FOLDER.exists()


def test_a_command_that_does_not_look_it_up_says_so() -> None:
    with pytest.raises(BadInput, match="'flannel/stock-best' is not looked up here"):
        Variant.parse("flannel/stock-best").check(NIC_CORE)
