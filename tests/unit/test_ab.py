"""What a comparison says, from made-up samples."""

from dataclasses import replace

import pytest

from bench.ab import compared, is_limited, lines, report
from bench.explain import Explained
from bench.run import Sample, _overran

A = Sample(
    variant="flannel/none",
    round=0,
    seconds=0.5,
    offered=500_000,
    delivered=500_000,
    bytes=9_000_000,
    rate=1e6,
    offered_rate=1e6,
    drops={},
    order={"reordered": 0.0, "extent_p99": 0.0, "duplicates": 0.0, "sampled": 1000.0},
    latency={"p50": 1e5, "p99": 2e5, "p99.9": 3e5},
    cores={"0": {"softirq": 0.9, "wire": 0.1, "idle": 0.0}, "1": {"idle": 1.0}},
    per_packet={"polls": 0.1},
    wire_share=0.1,
    limited=False,
    settings={"nic0 rx-gro": "off", "vxlan0 rps_cpus": "0"},
)
B = replace(
    A,
    variant="docker/backlog",
    rate=2e6,
    delivered=400_000,
    drops={"worker": {"drop_queue_full": 100_000}},
    settings={"nic0 rx-gro": "on"},
)
NOISE = [0.99, 1.0, 1.01, 1.02, 0.98, 1.0, 1.01]


def series(sample: Sample) -> list[Sample]:
    return [replace(sample, rate=sample.rate * noise, round=at) for at, noise in enumerate(NOISE)]


def test_the_report_has_what_programs_read() -> None:
    found = report(series(A), series(B))
    assert (found["a"], found["b"], found["metric"]) == ("flannel/none", "docker/backlog", "delivered_pps")
    assert [*found["ratio"].values()] == pytest.approx([2, 2, 2])
    assert (found["verdict"], found["reasons"]) == ("better", [])
    assert found["rounds"][0] == {"a": 0.99e6, "b": 1.98e6}
    assert found["unequal"] == {"nic0 rx-gro": ["off", "on"], "vxlan0 rps_cpus": ["0", None]}
    row = found["variants"]["b"]
    assert row["loss"] == pytest.approx(0.2)
    assert row["drops"] == {"worker": {"drop_queue_full": 700_000}}
    assert row["busy"] == {"0": 1.0, "1": 0.0}
    assert row["goodput_bps"] == pytest.approx(2e6 * 8 * 9e6 / 4e5)
    assert row["latency_ns"]["p99"] == 2e5


def test_a_person_is_told_of_loss_settings_and_verdict() -> None:
    text = "\n".join(lines(report(series(A), series(B))))
    assert text.startswith("docker/backlog is 2.00 [2.00, 2.00] times flannel/none: better, 7 rounds")
    assert "b lost: worker drop_queue_full 700000" in text
    assert "settings that differ (a | b): nic0 rx-gro off | on, vxlan0 rps_cpus 0 | None" in text


def test_where_packets_went_is_told_in_shares_of_what_was_offered() -> None:
    freed = {"enqueue_to_backlog": {"cpu_backlog": 50, "not_specified": 0}}
    a = Explained(1000, 940, freed, {"wire": {"drop_ring": 9}}, 1.0)
    assert a.unexplained == 1
    text = lines(report(series(A), series(B), explained=[a, Explained(1000, 1000, {}, {}, 64.0)]))
    told = [line for line in text if "tells reasons" in line]
    assert told == [
        "a lost, in a run that tells reasons: wire drop_ring 0.90% (9), "
        "enqueue_to_backlog cpu_backlog 5.00% (50), unexplained 0.10% (1)"
    ]
    assert next(line for line in text if line.startswith("packets an skb")).split()[3:] == ["1", "64"]


def test_events_are_told_by_packet_and_by_poll() -> None:
    events = {"polls": 0.1, "polled": 3.0, "bulks": 0.0, "bulked": 0.0, "ipis": 0.25}
    text = lines(report([replace(each, per_packet=events) for each in series(A)], series(B)))
    shown = {line[:26].strip(): line[26:].split()[0] for line in text if " " in line}
    assert (shown["NAPI polls a packet"], shown["packets a poll"], shown["IPIs a packet"]) == (
        "0.1",
        "30",
        "0.25",
    )
    assert (shown["packets a cpumap bulk"], shown["packets an skb"], shown["softirqs a packet"]) == (
        "-",
        "-",
        "-",
    )


def test_what_the_wire_limits_never_wins() -> None:
    limited = [replace(each, limited=True, wire_share=0.7) for each in series(B)]
    assert is_limited(limited)
    assert compared(series(A), limited).verdict == "inconclusive"
    assert not is_limited(limited[:2] + series(B)[2:])
    assert "b is limited by the wire" in "\n".join(lines(report(series(A), limited)))


def test_one_invalid_run_makes_it_invalid() -> None:
    broken = series(B)
    broken[3] = replace(broken[3], invalid=["of 10 packets 9 are accounted for"])
    found = compared(series(A), broken)
    assert (found.verdict, found.reasons) == ("invalid", ("of 10 packets 9 are accounted for",))


def test_other_work_on_the_machine_is_said() -> None:
    busy = {"0": {"softirq": 0.6, "other": 0.4}, "1": {"idle": 0.99, "other": 0.01}}
    found = compared([replace(each, cores=busy) for each in series(A)], series(B))
    assert found.verdict == "better"
    assert found.warnings == ("other work took 40% of core 0 from flannel/none: measure again in quiet",)
    assert compared(series(A), series(B)).warnings == ()


def test_a_full_ring_tells_that_the_receiver_was_slower_than_the_wire() -> None:
    assert not _overran({}, 1000)
    assert not _overran({"wire": {"drop_ring": 10}}, 1000)
    assert _overran({"wire": {"drop_ring": 11}}, 1000)


def test_who_was_named_by_a_sweep_is_told() -> None:
    found = report(series(A), series(B))
    found["named"] = {"a": {"text": "flannel/stock-best", "file": "some.json"}}
    assert "a is flannel/stock-best of some.json" in lines(found)
