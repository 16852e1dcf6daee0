"""From samples to rows: medians, ratios within rounds, families; and the three forms of a table."""

import json
from typing import Any

import pytest

from bench.table import as_json, as_markdown, as_text, family, percent, rows, three
from steering.errors import BadInput

BASELINE, OURS, NATIVE = "flannel/none", "flannel/backlog:cell=64,limit=192+gro-list", "native/none"


def sample(
    variant: str = BASELINE, round_number: int = 0, mpps: float = 0.5, **others: Any
) -> dict[str, Any]:
    """One run of half a second, a tenth lost, the second core idle; ``others`` replaces what it says."""
    return {
        "variant": variant,
        "round": round_number,
        "seconds": 0.5,
        "offered": 1_000_000,
        "delivered": 900_000,
        "bytes": 16_200_000,
        "rate": mpps * 1e6,
        "drops": {"worker": {"queue_full": 100_000}},
        "order": {"reordered": 0.25, "extent_p99": 180, "duplicates": 0},
        "latency": {"p50": 41_000.0, "p99": 90_000.0, "p99.9": 120_000.0},
        "cores": {"0": {"softirq": 0.75, "wire": 0.25}, "1": {"idle": 1.0}},
        "wire_share": 0.25,
        "limited": False,
        "invalid": [],
        "settings": {"nic0 rx-gro": "on"},
        **others,
    }


def experiment(rounds: int = 6) -> list[dict[str, Any]]:
    """Three variants; ours is four times the baseline in each round, though the rounds drift."""
    both = {"0": {"softirq": 0.625, "wire": 0.375}, "1": {"cpumap": 0.75, "timer": 0.125, "idle": 0.125}}
    return [
        made
        for number in range(rounds)
        for base in [0.5 + number / 16]
        for made in (
            sample(NATIVE, number, base * 3),
            sample(BASELINE, number, base),
            sample(OURS, number, base * 4, cores=both, wire_share=0.375),
        )
    ]


def test_a_row_says_what_its_rounds_say() -> None:
    native, base, ours = rows(experiment(), BASELINE)
    assert [native.variant, base.variant, ours.variant] == [NATIVE, BASELINE, OURS]
    assert base.rate.median == pytest.approx(0.5 + 2.5 / 16)
    assert base.rate.low <= base.rate.median <= base.rate.high
    assert ours.lost == pytest.approx(0.1)
    assert (ours.reordered, ours.extent_p99, ours.p50, ours.p99) == (0.25, 180, 41, 90)
    assert ours.wire == 0.375
    # 0.625 + 0.875 of a core, at 4 times the baseline's rate.
    assert ours.cpu_ns == pytest.approx(1.5e9 / (4e6 * (0.5 + 2.5 / 16)), rel=0.01)
    assert ours.softirqs is None
    assert ours.busy() == pytest.approx({0: 1, 1: 0.875})
    assert base.busy() == pytest.approx({0: 1, 1: 0})


def test_ratios_are_taken_within_rounds_so_that_drift_does_not_show() -> None:
    native, base, ours = (row.ratio for row in rows(experiment(), BASELINE))
    for found, expected in ((native, 3), (base, 1), (ours, 4)):
        assert found is not None
        assert [found.median, found.low, found.high] == pytest.approx([expected] * 3)


def test_rounds_that_the_baseline_lacks_have_no_ratio() -> None:
    runs = [sample(round_number=0), sample(OURS, 0, 1), sample(OURS, 1, 5), sample(NATIVE, 1)]
    _, ours, native = rows(runs, BASELINE)
    assert ours.ratio is not None and ours.ratio.high == pytest.approx(2)
    assert native.ratio is None


def test_a_baseline_that_delivered_nothing_divides_nothing() -> None:
    base, ours = rows([sample(mpps=0, offered=0, delivered=0), sample(OURS)], BASELINE)
    assert base.ratio is None and ours.ratio is None and base.lost == 0


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(BadInput, match=f"unknown baseline 'x': choose from {BASELINE}"):
        rows([sample()], "x")


def test_what_was_not_measured_is_a_dash() -> None:
    found = rows([sample(order=None, latency={})], BASELINE)
    assert (found[0].reordered, found[0].p99) == (None, None)
    assert "\N{EN DASH}" in as_text(found)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("native/none", "native"),
        ("native/none+gro-list", "native"),
        ("flannel/none", "stock"),
        ("rps", "stock"),
        ("docker/rps-vxlan:cores=0-1+gro-list", "stock"),
        ("flannel/local", "ours"),
        ("flannel/nonesuch", "ours"),
        ("native/backlog", "ours"),
        ("@/tmp/none/rps", "ours"),
        ("docker/@/native/none", "ours"),
    ],
)
def test_families(variant: str, expected: str) -> None:
    assert family(variant) == expected


def test_text_fits_a_terminal_and_shows_each_variant() -> None:
    text = as_text(rows(experiment(), BASELINE))
    assert all(len(line) <= 120 for line in text.splitlines())
    for name in (NATIVE, BASELINE, OURS, "4.00 [4.00, 4.00]", "100 88"):
        assert name in text


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
@pytest.mark.parametrize("variable", ["NO_COLOR", "FORCE_COLOR"])
def test_text_has_no_colours_and_does_not_depend_on_the_terminal(
    variable: str, term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "linux")
    plain = as_text(rows(experiment(), BASELINE))
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", term)
    assert as_text(rows(experiment(), BASELINE)) == plain
    assert "\x1b" not in plain


def test_what_is_no_result_is_marked_and_explained() -> None:
    runs = [sample(round_number=n, limited=n < 2, invalid=["steal 9 %"] * (n == 1)) for n in range(3)]
    (row,) = found = rows(runs, BASELINE)
    assert (row.limited, row.invalid) == (2, ("steal 9 %",))
    for text in (as_text(found), as_markdown(found)):
        assert f"invalid: {BASELINE}: steal 9 %" in text
        assert f"wire-limited: {BASELINE}: in 2 of 3 rounds" in text
    assert f"{BASELINE} (invalid) (wire-limited)" in as_text(found)


def test_a_path_in_a_variant_is_no_markup() -> None:
    odd = "flannel/@/tmp/[red]a|b"
    found = rows([sample(odd)], odd)
    assert odd in as_text(found)
    assert "`flannel/@/tmp/[red]a\\|b`" in as_markdown(found)


def test_markdown_is_one_table() -> None:
    lines = [line for line in as_markdown(rows(experiment(), BASELINE)).splitlines() if line.startswith("|")]
    assert len(lines) == 5 and len({line.count("|") for line in lines}) == 1
    assert f"`{OURS}`" in lines[-1]


def test_json_holds_the_rows() -> None:
    found = json.loads(as_json(rows(experiment(), BASELINE)))
    assert [row["variant"] for row in found] == [NATIVE, BASELINE, OURS]
    assert found[2]["ratio"] == pytest.approx({"median": 4, "low": 4, "high": 4})
    assert found[2]["busy"] == {"0": 1, "1": 0.875}
    assert len(found[0]["rates"]) == 6


def test_three_digits() -> None:
    values = [None, 0, 0.45, 2.654, 246.4, 12345, 0.00012]
    assert [three(value) for value in values] == [
        "\N{EN DASH}",
        "0",
        "0.450",
        "2.65",
        "246",
        "12,300",
        "0.0001",
    ]


def test_percent() -> None:
    assert [percent(share) for share in (None, 0, 0.00001, 0.0012, 0.0996, 0.412, 1)] == [
        "\N{EN DASH}", "0", "<0.01", "0.12", "10", "41", "100",
    ]  # fmt: skip


def test_a_round_is_compared_with_the_same_of_its_batch() -> None:
    runs = [
        sample(variant, 0, mpps, batch=batch)
        for batch in (0, 1)
        for variant, mpps in ((BASELINE, 1 + batch), (OURS, 4))
    ]
    ours = rows(runs, BASELINE)[1].ratio
    assert ours is not None and (ours.low, ours.high) == pytest.approx((2, 4))
