"""``make speed``: how fast the model runs, side by side with SimPy on the same run; memory too."""

import argparse
import json
import resource
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/unit"))

from simpy_machine import Tally  # noqa: E402
from simpy_path import simulate as in_simpy  # noqa: E402

from prototype.costs import reference  # noqa: E402
from prototype.model import simulate  # noqa: E402
from prototype.model_load import Load, Machine  # noqa: E402
from prototype.model_outcome import Outcome  # noqa: E402
from prototype.model_path import Setup  # noqa: E402
from prototype.progress import counted  # noqa: E402

RESULT = ROOT / "docs/results/twin/speed.json"
VARIANT, TWENTY = "docker/backlog+gro-list", Machine(cores=20)
RATE = 3e6  # what one NIC queue's core can take, so that hardly anything is lost
PACKETS, PLAIN_PACKETS = 3e6, 60_000
COUNTED = ("polls", "bulks", "wakeups")


def main() -> int:
    """Prints one JSON object, and keeps it when told to."""
    parser = argparse.ArgumentParser(prog="make speed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--packets", type=float, help="of the run for memory; else what was kept is printed again"
    )
    parser.add_argument("--keep", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    given = parser.parse_args()
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {"memory": {}}
    simulate(*arguments(1000))  # compiled
    with counted("rounds", given.rounds) as note:
        rounds = []
        for number in range(given.rounds):
            rounds.append(one_round(number))
            note(number + 1)
    found = {
        "run": f"{VARIANT}, 20 cores, 1400 bytes, {RATE:.0f} packets a second, constant arrivals",
        "model_packets_per_second": middle(rounds, "model"),
        "simpy_packets_per_second": middle(rounds, "simpy"),
        "ratio_to_simpy": middle(rounds, "ratio"),
        "flood": {
            "run": "the same at 100 Gbit/s; most is lost in the NIC's ring",
            "model_packets_per_second": middle(rounds, "flood"),
            "lost": rounds[0]["flood_lost"],
        },
        "results": {name: rounds[0][name] for name in ("model_says", "simpy_says")},
        "memory": memory(given.packets) if given.packets else kept["memory"],
        "rounds": given.rounds,
    }
    text = json.dumps(found, indent=1)
    print(text)
    if given.keep:
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        RESULT.write_text(text + "\n")
    return 0


def arguments(packets: float, seed: int = 1) -> tuple[Any, ...]:
    """Of both simulations: a flow sprayed over 20 cores; so many packets."""
    load = Load(payload=1400, rate=RATE, seconds=packets / RATE, warmup=0.0, seed=seed)
    return Setup.parse(VARIANT), TWENTY, load, reference()


def one_round(number: int) -> dict[str, Any]:
    """Each once; in time of the core, for others may use the machine as well."""
    begin = time.process_time()
    outcome = simulate(*arguments(PACKETS, number + 1))
    model_took, begin = time.process_time() - begin, time.process_time()
    tally = in_simpy(*arguments(PLAIN_PACKETS, number + 1))
    simpy_took = time.process_time() - begin
    begin = time.process_time()
    setup, machine, load, costs = arguments(PACKETS, number + 1)
    flood = simulate(setup, machine, replace(load, rate=None), costs)
    flood_took = time.process_time() - begin
    model, simpy = outcome.offered / model_took, tally.offered / simpy_took
    return {
        **{"flood": flood.offered / flood_took, "flood_lost": flood.loss},
        **{"model": model, "simpy": simpy, "ratio": model / simpy},
        **{"model_says": of_model(outcome), "simpy_says": of_simpy(tally)},
    }


def of_model(outcome: Outcome) -> dict[str, float]:
    """What is compared."""
    return {
        "lost": outcome.loss,
        "reordered": outcome.order["reordered"],
        "latency_ns": outcome.latency["mean"],
        "busy_cores": outcome.busy_cores,
        **{f"{name}_per_packet": outcome.per_packet[name] for name in COUNTED},
    }


def of_simpy(tally: Tally) -> dict[str, float]:
    """The same."""
    received = tally.offered - tally.lost["nic_ring_full"]
    return {
        "lost": 1 - tally.delivered / tally.offered,
        "reordered": tally.reordered / tally.delivered,
        "latency_ns": statistics.fmean(tally.latency),
        "busy_cores": sum(tally.busy.values()) / (PLAIN_PACKETS / RATE * 1e9),
        **{f"{name}_per_packet": tally.did[name] / received for name in COUNTED},
    }


def memory(packets: float) -> dict[str, float]:
    """Of one long run, in bytes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    with counted("per cent", 100) as note:
        outcome = simulate(*arguments(packets), progress=lambda share: note(int(100 * share)))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "packets": outcome.offered,
        "grown_bytes": 1024 * (after - before),
        "most_bytes": 1024 * after,
        "seconds": time.process_time() - begin,
    }


def middle(rounds: list[dict[str, Any]], name: str) -> dict[str, float]:
    """Median and extremes."""
    values = [each[name] for each in rounds]
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


if __name__ == "__main__":
    sys.exit(main())
