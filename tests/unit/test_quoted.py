"""Figures in a text are those of the saved results, or the text is refused."""

from pathlib import Path

import pytest
from samples import sample

from bench.quoted import filled
from bench.results import Results
from steering.errors import BadInput

TEXT = """
name = "small"
title = "Small"
question = "none"
seconds = 1
rounds = 6
baselines = ["none"]
plots = []
matrix = { payload = [18], rate = [1000000] }
groups = [{ cases = ["docker"], variants = ["none", "local"] }]
"""
POINT = "UDP, 18 B, 1 flow, 1,000,000 packets/s"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    results = Results.begin(tmp_path / "small", TEXT)
    (point,) = results.experiment.points()
    for number in range(6):
        for variant, packets in (("docker/none", 200_000), ("docker/local", 500_000)):
            counts = {"offered": packets, "delivered": packets, "drops": {}, "seconds": 1.0}
            common = {"point": point.id, "round": number, "variant": variant}
            results.add(sample(**common, **counts))
    return tmp_path


def test_medians_and_ratios_come_from_the_runs(folder: Path) -> None:
    text = f"It is {{small | {POINT} | docker/local | rate}}, that is {{small | {POINT} | "
    text += "docker/local / docker/none | rate}."
    assert filled(text, folder) == (
        "It is 0.500 [0.500, 0.500], that is 2.50\N{MULTIPLICATION SIGN} [2.50, 2.50]."
    )
    assert filled("nothing quoted", folder) == "nothing quoted"


@pytest.mark.parametrize(
    ("quote", "said"),
    [
        ("small | rate", "write EXPERIMENT"),
        (f"small | {POINT} | docker/local | speed", "speed"),
        (f"small | {POINT} | docker/pin | rate", "docker/pin"),
        ("small | elsewhere | docker/local | rate", "elsewhere"),
        (f"small | {POINT} | docker/local | chase", "no figure"),
        (f"large | {POINT} | docker/local | rate", "large"),
    ],
)
def test_what_no_run_says_is_refused(folder: Path, quote: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        filled(f"{{{quote}}}", folder)
