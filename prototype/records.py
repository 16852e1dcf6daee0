"""Saved lab runs as the model sees them: a variant's median at a point, and what to run for it.

Read as plain JSON lines (``samples.jsonl`` of the bench's results), for the bench stands above.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from prototype.model_load import Load, Machine
from prototype.model_path import Setup
from steering.errors import BadInput
from steering.spec import Spec

_POINT = re.compile(r"(udp|tcp), (\d+) B, (\d+) flows?, ([^,]+), ([a-z]+(?::\S+)?), (\S+)")
# On two cores the mask 2 names the one core that the model takes; GRO on more devices is one.
_SAID = (("rps:mask=2", "rps"), ("rps-vxlan:mask=2", "rps-vxlan"), ("rps-veth:mask=2", "rps-veth"))


@dataclass(frozen=True)
class Row:
    """A variant's runs at a point."""

    experiment: str
    point: str
    variant: str
    resolved: str
    """The variant that ``stock-best`` stood for, else the same, as the model writes it."""
    asked: float | None
    measured: float
    """Packets a second, the median of the runs."""
    runs: int
    invalid: int
    """Of these: runs that the bench marked, which are left out unless all are."""
    wire: float
    """ns of core time a packet that the lab's wire took, the median."""
    cores: int
    offered: float = 0.0
    """Packets a second that the wire put on the NIC, the median; 0: not known."""
    other_cores: float = 0.0
    """Time of all cores but the NIC's, in cores, the median."""

    @property
    def key(self) -> str:
        """Names the row among all results."""
        return f"{self.experiment} | {self.point} | {self.variant}"

    def parsed(self) -> tuple[Setup, Machine, Load]:
        """What the model runs for it.

        Raises:
            BadInput: something that the model does not have.
        """
        found = _POINT.fullmatch(self.point)
        if not found:
            raise BadInput(f"point '{self.point}' is of no known form")
        protocol, payload, flows, _, arrivals, sink = found.groups()
        spec = Spec.parse(arrivals)
        known = {"batch": 128, "us": 0, "frames": 0, "burst": 1, "train": 1}
        for name, value in spec.args.items():
            if name not in known:
                raise BadInput(f"arrivals '{arrivals}': the model has no '{name}'")
            known[name] = int(value)
        if spec.name not in ("constant", "poisson") or sink not in ("count", "read"):
            raise BadInput(
                f"'{arrivals}' into '{sink}': the model has constant, poisson; count, read"
            )
        machine = Machine(
            cores=self.cores,
            lab=True,
            batch=known["batch"],
            hold_us=known["us"],
            frames=max(1, known["frames"] or (known["batch"] if known["us"] else 1)),
        )
        load = Load(
            payload=int(payload),
            flows=int(flows),
            rate=self.asked,
            protocol="tcp" if protocol == "tcp" else "udp",
            arrivals="poisson" if spec.name == "poisson" else "constant",
            burst=known["burst"],
            train=known["train"],
            reads=sink == "read",
        )
        return Setup.parse(self.resolved), machine, load


def read_results(folder: Path) -> list[Row]:
    """All rows of an experiment's folder.

    Raises:
        BadInput: no results there.
    """
    path = folder / "samples.jsonl"
    try:
        samples = [json.loads(line) for line in path.read_bytes().splitlines()]
    except OSError as error:
        raise BadInput(f"results '{path}': {error.strerror}: name a folder of results") from None
    except ValueError:
        raise BadInput(f"results '{path}': not JSON lines: name a folder of results") from None
    try:
        return _rows(folder.name, samples)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError):
        raise BadInput(f"results '{path}': damaged: name a folder of results") from None


def _rows(experiment: str, samples: Iterable[dict[str, Any]]) -> list[Row]:
    groups: dict[tuple[str, str, str, float | None], list[dict[str, Any]]] = {}
    for sample in samples:
        resolved = in_our_words(sample["settings"].get("resolved", sample["variant"]))
        key = (sample["point"], sample["variant"], resolved, sample["asked"])
        groups.setdefault(key, []).append(sample)
    return [_row(experiment, key, group) for key, group in sorted(groups.items(), key=str)]


def host_of(folder: Path) -> dict[str, Any]:
    """The fingerprint of the host that measured, empty if there is none. BadInput: damaged."""
    path = folder / "fingerprint-before.json"
    try:
        found = json.loads(path.read_bytes()) if path.exists() else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"fingerprint '{path}': damaged: name a folder of results")
    return found


def in_our_words(variant: str) -> str:
    """A variant of the bench as the model writes it."""
    for theirs, ours in _SAID:
        variant = variant.replace(theirs, ours)
    return re.sub(r"\+gro-list:\S+$", "+gro-list", variant)


def _row(
    experiment: str, key: tuple[str, str, str, float | None], samples: Iterable[dict[str, Any]]
) -> Row:
    point, variant, resolved, asked = key
    runs = list(samples)
    valid = [sample for sample in runs if not sample["invalid"]]
    used = valid or runs
    return Row(
        experiment=experiment,
        point=point,
        variant=variant,
        resolved=resolved,
        asked=asked,
        measured=median(sample["rate_pps"] for sample in used),
        runs=len(runs),
        invalid=len(runs) - len(valid),
        wire=median(s["wire_share"] * s["seconds"] * 1e9 / max(1, s["offered"]) for s in used),
        cores=len(runs[0]["cores"]),
        offered=median(sample["offered"] / sample["seconds"] for sample in used),
        other_cores=median(map(_other_cores, used)),
    )


def _other_cores(sample: dict[str, Any]) -> float:
    kinds = ("softirq", "cpumap", "application")
    cores = (core for number, core in sample["cores"].items() if number != "0")
    return sum(float(core.get(kind, 0.0)) for core in cores for kind in kinds)
