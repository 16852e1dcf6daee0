"""Who sends what, and when."""

import numpy as np
import pytest

from bench.lanes import MOST_GAPS, MOST_TURNS, batches, gaps, lanes, turns
from bench.traffic import MOST_SHARES, Traffic
from steering.errors import BadInput


def sequence_of(weights: tuple[int, ...], cycles: int) -> list[tuple[int, int]]:
    """Flow and sequence number of each frame, as wire.bpf.c goes through the table."""
    table = turns(weights)
    sent = []
    for _ in range(cycles):
        for turn in table:
            sent.append((int(turn["flow"]), int(turn["sequence"])))
            turn["sequence"] += turn["step"]
    return sent


@pytest.mark.parametrize("weights", [(1,), (1, 1, 1), (3, 1), (5, 2, 1)])
def test_every_flow_counts_without_a_hole_and_has_its_share(weights: tuple[int, ...]) -> None:
    sent = sequence_of(weights, 4)
    for flow, weight in enumerate(weights):
        assert [number for each, number in sent if each == flow] == list(range(4 * weight))


def test_shares_are_spread_evenly() -> None:
    assert MOST_SHARES == MOST_TURNS, "wire.h says it too"
    assert [flow for flow, _ in sequence_of((3, 1), 1)] == [0, 0, 1, 0]
    assert [flow for flow, _ in sequence_of((1, 1, 1), 1)] == [0, 1, 2]


def test_flows_go_to_the_lanes_of_their_cores() -> None:
    made = lanes(Traffic(flows=5, rate=1_000_000), [3, 7])
    assert [lane.core for lane in made] == [3, 7]
    assert [lane.turns["flow"].tolist() for lane in made] == [[0, 2, 4], [1, 3]]
    spans = [int(lane.batches["gap"].sum()) / lane.batches["frames"].sum() for lane in made]
    assert spans == pytest.approx([1e9 / 600_000, 1e9 / 400_000], rel=1e-6), "each its share of the rate"


@pytest.mark.parametrize("arrivals", ["constant", "poisson", "bursts:1024"])
@pytest.mark.parametrize(("batch", "moderation"), [(128, 0), (1, 0), (16, 50)])
def test_the_rate_is_right_to_the_ns(arrivals: str, batch: int, moderation: int) -> None:
    traffic = Traffic(rate=3_000_000, batch=batch, arrivals=arrivals, moderation=moderation)
    [lane] = lanes(traffic, [0])
    frames = int(lane.batches["frames"].sum())
    assert abs(int(lane.batches["gap"].sum()) - frames * 1e9 / traffic.rate) <= 1
    assert 0 < len(lane.batches) <= MOST_GAPS
    if moderation:
        assert frames == len(lane.gaps)


def test_full_rate_has_no_schedule() -> None:
    [lane] = lanes(Traffic(), [0])
    assert (len(lane.batches), len(lane.gaps)) == (0, 0)


def test_poisson_gaps_are_exponential_and_the_same_every_time() -> None:
    traffic = Traffic(rate=200_000, batch=1, arrivals="poisson")
    found = gaps(traffic, 1, MOST_GAPS)
    assert (found == gaps(traffic, 1, MOST_GAPS)).all()
    assert found.std() == pytest.approx(found.mean(), rel=0.02)
    assert np.median(found) == pytest.approx(found.mean() * np.log(2), rel=0.02)
    assert (found != gaps(traffic, 1, MOST_GAPS, seed=1)).any(), "lanes are independent"


def test_bursts_come_at_once_and_then_none() -> None:
    found = gaps(Traffic(rate=1_000_000, batch=128, arrivals="bursts:512"), 1, MOST_GAPS)
    assert found.tolist() == [0, 0, 0, 512_000]


def test_a_nic_that_waits_hands_over_a_full_batch_or_after_its_time() -> None:
    traffic = Traffic(rate=1_000_000, batch=3, moderation=10)
    between = np.array([1000, 1000, 1000, 5000, 20_000, 1000, 30_000], np.uint64)
    # Arrivals at 1, 2, 3, 8, 28, 29, 59 µs.
    found = batches(traffic, between)
    assert found["frames"].tolist() == [3, 1, 2, 1]
    assert np.cumsum(found["gap"]).tolist() == [3000, 18_000, 38_000, 59_000]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"arrivals": "sometimes"}, "arrivals 'sometimes': choose constant, poisson, or bursts:FRAMES"),
        ({"arrivals": "bursts"}, "arrivals 'bursts': choose constant, poisson, or bursts:FRAMES"),
        ({"arrivals": "bursts:64", "rate": 1000}, "bursts of 64: choose from 128, a batch, to 65536"),
        ({"arrivals": "poisson"}, "arrivals 'poisson' at full rate means nothing: give a rate"),
        ({"moderation": 20}, "moderation at full rate means nothing: give a rate"),
        ({"moderation": 10_001, "rate": 1000}, "moderation 10001 is out of range: choose from 0 to 10000"),
        ({"shares": "1,2"}, "shares 1,2: 1 flows want one of 1 or more each"),
        ({"shares": "0,2", "flows": 2}, "shares 0,2: 2 flows want one of 1 or more each"),
        ({"shares": "8192,2", "flows": 2}, "shares add up to 8194: choose 8192 at most"),
        ({"shares": "1,,2", "flows": 2}, "shares '1,,2': write whole numbers with commas between"),
    ],
)
def test_what_can_not_be_is_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        Traffic(**wrong)  # type: ignore[arg-type]
