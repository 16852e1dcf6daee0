"""The picture: two files, the same bytes each time, and words that can be read and searched."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import trade
from bench.plots import Sent, by_kind, draw
from bench.table import TIMES, Row, rows

BASELINE, OURS, NATIVE = "flannel/none", "flannel/backlog:cell=64,limit=192+gro-list", "native/none"
ODD = "flannel/@/tmp/a$b$<c>&d"
CORES = {"0": {"softirq": 0.75, "wire": 0.25}, "1": {"cpumap": 0.75, "timer": 0.125, "idle": 0.125}}


def sample(variant: str, round_number: int, mpps: float, **others: Any) -> dict[str, Any]:
    needed = {"offered": 10, "delivered": 9, "rate": mpps * 1e6, "cores": CORES}
    return {"variant": variant, "round": round_number, **needed, **others}


def table(rounds: int) -> list[Row]:
    """Rates that drift from round to round, with the same ratios; the last variant is no result."""
    runs = []
    for number in range(rounds):
        base = 0.5 + number / 16
        runs += [
            sample(NATIVE, number, 3 * base),
            sample(BASELINE, number, base),
            sample(OURS, number, 4 * base),
        ]
        runs += [sample(ODD, number, base, invalid=["steal"], limited=True)]
    return rows(runs, BASELINE)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw(table(6), BASELINE, Sent(18, 1), tmp_path_factory.mktemp("plots") / "new/v0.1")


def test_png_and_svg_are_written(drawn: list[Path]) -> None:
    assert [path.name for path in drawn] == ["v0.1.png", "v0.1.svg"]
    assert drawn[0].read_bytes().startswith(b"\x89PNG")


def test_its_words_are_text(drawn: list[Path]) -> None:
    svg = drawn[1].read_text()
    for words in (
        *(f">{name}<" for name in (NATIVE, BASELINE, OURS)),
        ">flannel/@/tmp/a$b$&lt;c&gt;&amp;d (invalid) (wire-limited)<",
        "One UDP flow of 18-byte payloads, 6 rounds: veth and a generated wire",
        "million packets a second delivered (one UDP flow, 18 bytes of payload)",
        f"4.00{TIMES} [4.00, 4.00]",
        *(">stock Linux<", ">overspray<", ">native, no overlay<", ">baseline<"),
        *(">core 0<", ">core 1<", ">softirq<", ">cpumap thread<", ">idle<"),
    ):
        assert words in svg, words


def test_the_same_rows_give_the_same_svg(tmp_path: Path) -> None:
    first, second = (draw(table(2), BASELINE, Sent(1400, 16), tmp_path / name)[1] for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert "16 UDP flows of 1400-byte payloads, 2 rounds" in first.read_text()


def test_it_leaves_no_setting_behind(tmp_path: Path) -> None:
    from matplotlib import rcParams

    def settings() -> dict[str, Any]:  # to ask for the backend would choose one, and load pyplot
        return {key: rcParams[key] for key in rcParams if key != "backend"}

    before = settings()
    nothing_arrived = rows([sample(BASELINE, 0, 0)], BASELINE)
    draw(nothing_arrived, BASELINE, Sent(18, 1), tmp_path / "one")
    assert settings() == before


def test_kinds_that_nobody_named_are_other() -> None:
    shares = {"idle": 0.5, "timer": 0.125, "irq": 0.125, "wire": 0.25}
    assert by_kind(shares) == {"softirq": 0, "cpumap": 0, "other": 0.25, "wire": 0.25}


def test_matplotlib_is_loaded_only_to_draw() -> None:
    code = "import sys, bench.cli, bench.plots; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def test_pyplot_is_never_loaded(drawn: list[Path]) -> None:
    assert drawn and "matplotlib.pyplot" not in sys.modules


def test_the_trade_has_a_dot_for_each_variant_whose_order_was_seen(tmp_path: Path) -> None:
    seen = [replace(row, reordered=at / 10) for at, row in enumerate(table(3))]
    unseen = replace(seen[0], variant="native/unseen", reordered=None)
    png, svg = trade.picture([*seen, unseen], "Throughput and order").save(tmp_path / "trade")
    text = svg.read_text()
    assert png.stat().st_size > 10_000 and "packets that arrived late (RFC 4737)" in text
    assert OURS in text and BASELINE in text and "native/unseen" not in text
