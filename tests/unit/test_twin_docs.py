"""docs/twin.md says what the saved results say."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "docs/results/twin"
TEXT = (ROOT / "docs/twin.md").read_text()


def kept(name: str) -> Any:
    return json.loads((KEPT / name).read_text())


def test_errors_of_the_model() -> None:
    found = kept("validated.json")
    for kind, words in (
        ("throughput", "as predicted"),
        ("throughput, anchored", "for how fast the host was at that point"),
    ):
        errors = found[kind]
        cells = f"| {errors['rows']} | {errors['median']:.1%} | {errors['worst']:.1%} |"
        assert f"| {words} {cells}" in TEXT
    assert f"{found['pairs_in_order']} of {found['pairs']} pairs" in TEXT


def test_what_was_tried() -> None:
    found = kept("attempts.json")
    for each in found["attempts"]:
        said = "kept" if each["kept"] else "dropped"
        assert f"| {each['median']:.1%} | {each['worst']:.1%} | {said}" in TEXT
    assert f"{found['hash_ns']['1400 bytes']:.0f} ns of a flow's hash" in TEXT


def test_ceiling() -> None:
    lines = (KEPT / "ceiling/samples.jsonl").read_text().splitlines()
    rates = {
        (row["point"]["variant"], row["point"]["cores"]): row["rate_pps"]
        for row in map(json.loads, lines)
    }
    [head] = [line for line in TEXT.splitlines() if line.startswith("| cores |")]
    variants = [cell.strip(" `") for cell in head.strip("|").split("|")][1:]
    for cores in (2, 3, 4, 6, 64):
        cells = " | ".join(f"{rates[variant, cores] / 1e6:.2f}" for variant in variants)
        assert f"| {cores} | {cells} |" in TEXT


def test_the_papers_pairs() -> None:
    points = {
        (each["protocol"], each["case"], each["pairs"]): each["throughput_gbps"]
        for each in kept("paper.json")["points"]
    }
    for pairs in (1, 2, 4, 6, 7, 8, 16, 40, 80):
        cells = " | ".join(
            f"{points[protocol, case, pairs]:.1f}"
            for protocol in ("udp", "tcp")
            for case in ("native", "linux", "docker")
        )
        assert f"| {pairs} | {cells} |" in TEXT


def test_speed() -> None:
    found = kept("speed.json")
    model, simpy = found["model_packets_per_second"], found["simpy_packets_per_second"]
    memory = found["memory"]
    assert f"{model['median'] / 1e6:.1f} million packets a second" in TEXT
    assert f"{found['ratio_to_simpy']['median']:.0f} times" in TEXT
    assert f"({simpy['median']:,.0f} packets a second" in TEXT
    assert f"{memory['packets']:,} packets take {memory['most_bytes'] / 2**20:.0f} MiB" in TEXT
