"""Stage costs fitted to measurements: the NIC stage's from ``BPF_PROG_TEST_RUN``, the rest to lab
runs of variants that isolate a stage, so that all others are left to be predicted."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prototype.costs import Cost, Costs, reference
from prototype.model import simulate
from prototype.model_outcome import Outcome
from prototype.records import Row, host_of, read_results
from steering.errors import BadInput

ISOLATES = (
    *("native/none", "native/none+gro-list", "native/rps", "linux/none", "docker/none"),
    *("docker/none+gro-list", "docker/rps-vxlan", "docker/local", "docker/local+gro-list"),
    *("docker/pin", "docker/pin+gro-list", "docker/roundrobin"),
)
"""Variants that calibration looks at: what each adds to another one is a stage."""
_OF_SHARED = ("byte", "cold", "deep", "contention")
FITTED = (
    *("stack", "gro", "miss", "tunnel_gro", "outer", "bridge", "redirect", "hand", "take", "hop"),
    *_OF_SHARED,
)
_POINTS = (" 18 B, 1 flow, best,", " 1400 B, 1 flow, best,")
"""Where: all other points are left to be predicted, for these variants as well."""
_KEPT = ("machine", "cpu", "kernel", "cores")
_SECONDS = 0.04
_BUSY = 0.1


@dataclass(frozen=True)
class Start:
    """What a fit begins with."""

    costs: Costs
    rows: tuple[Row, ...]


def prepare(results: Path, cost: Path) -> Start:
    """Read the isolating variants of an experiment, and the NIC stage's costs.

    Args:
        results: folder of the experiment.
        cost: JSON of ``overspray cost``.

    Raises:
        BadInput: no such files, or not all of the isolating variants.
    """
    rows = tuple(
        row
        for row in read_results(results)
        if row.variant in ISOLATES and any(text in row.point for text in _POINTS)
    )
    missing = sorted(set(ISOLATES) - {row.variant for row in rows})
    if missing:
        raise BadInput(f"results '{results}': no runs of {', '.join(missing)}: measure single_flow")
    costs = _with_nic_stage(reference(), cost)
    wire = median(row.wire for row in rows if row.asked is None)
    costs = costs.scaled({"wire": wire / costs.stages.wire.mean})
    # Cores of a virtual machine may be threads of one: more than the reference's is looked for.
    shared = costs.shared.model_copy(update={"contention": 0.1})
    costs = costs.model_copy(update={"shared": shared})
    host = host_of(results)
    said = {
        "source": f"calibrated: {cost.name}, and {', '.join(ISOLATES)} of {results.name}",
        "fingerprint": {key: host[key] for key in _KEPT if key in host},
        "used": tuple(sorted(row.key for row in rows)),
    }
    return Start(costs.model_copy(update=said), rows)


def predicted(row: Row, costs: Costs, seconds: float = _SECONDS) -> float:
    """Packets a second that the model delivers for a row.

    Raises:
        BadInput: something that the model does not have.
    """
    return _simulated(row, costs, seconds).rate_pps


def _simulated(row: Row, costs: Costs, seconds: float) -> Outcome:
    setup, machine, load = row.parsed()
    load = replace(load, seconds=seconds, warmup=seconds / 4)
    return simulate(setup, machine, load, costs)


def _with_nic_stage(costs: Costs, path: Path) -> Costs:
    """The NIC stage's own work by part, ns a packet, and the decision of each policy."""
    try:
        policies = json.loads(path.read_text())["policies"]
        parts = {each["policy"]: each["parts"] for each in policies}
        ours = {name: max(0.0, of["policy"]["median"]) for name, of in parts.items()}
        rest = median(
            sum(of[name]["median"] for name in ("maps", "parse", "classify"))
            for of in parts.values()
        )
    except OSError as error:
        raise BadInput(f"costs '{path}': {error.strerror}: type 'overspray cost' first") from None
    except (KeyError, TypeError, ValueError):
        raise BadInput(f"costs '{path}': not what 'overspray cost --json' writes") from None
    stages = costs.stages.model_copy(
        update={"steer": Cost(mean=rest, spread=costs.stages.steer.spread)}
    )
    return costs.model_copy(update={"stages": stages, "policies": ours})


def _changed(costs: Costs, factors: Sequence[float]) -> Costs:
    by_name = dict(zip(FITTED, factors, strict=True))
    shared = costs.shared
    new = {name: getattr(shared, name) * by_name.pop(name) for name in _OF_SHARED}
    return costs.scaled(by_name).model_copy(update={"shared": shared.model_copy(update=new)})


def fit(
    start: Start,
    note: Callable[[int], object] = lambda done: None,
    steps: int = 8,
    seconds: float = _SECONDS,
) -> Costs:
    """Least squares of the logarithms of predicted by measured: rates, what the wire offered, and
    the time of the cores behind the NIC's. Each cost within a factor of 4.

    Args:
        start: see :func:`prepare`.
        note: told how many runs of the model have been made.
        steps: of the fit, at most.
        seconds: that each run of the model lasts.
    """
    from scipy.optimize import least_squares

    done = 0

    def errors(shifted: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal done
        logs = shifted - 1
        costs = _changed(start.costs, np.exp(logs).tolist())
        outcomes = [_simulated(row, costs, seconds) for row in start.rows]
        rates = [o.rate_pps / row.measured for o, row in zip(outcomes, start.rows, strict=True)]
        # A wire that is not paced offers what the NIC's core leaves it time for: that core's costs.
        offered = [
            o.offered / o.seconds / row.offered
            for o, row in zip(outcomes, start.rows, strict=True)
            if row.asked is None and row.offered
        ]
        # Where not all was asked for, rates say nothing of a core that kept up, but its time does.
        others = [
            o.other_cores / row.other_cores
            for o, row in zip(outcomes, start.rows, strict=True)
            if row.other_cores > _BUSY
        ]
        found = np.array(rates + offered + others)
        done += len(start.rows)
        note(done)
        # A weak pull towards the start: where runs do not tell two stages apart, neither moves.
        return np.concatenate([np.log(np.maximum(found, 1e-9)), 0.05 * logs])

    # From 1 and not from 0, for steps of the derivatives are shares of where they are taken.
    bound = np.log(4.0)
    solution: Any = least_squares(
        errors, np.ones(len(FITTED)), bounds=(1 - bound, 1 + bound), diff_step=0.05, max_nfev=steps
    )
    return _changed(start.costs, np.exp(solution.x - 1).tolist())
