"""What is to be attached, and how a person writes it: policy, knobs, workers, delivery."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from steering.errors import BadInput, unknown
from steering.layout import header
from steering.policy import Knob, Need, Policy
from steering.registry import find
from steering.routes import Delivery
from steering.spec import Spec

COMMON: Mapping[str, str] = {
    "deliver": "how frames get into the container: veth or peer",
    "mask": "cores of the workers, hexadecimal; slot 1 is the lowest",
    "queue": "frames that a worker's queue holds",
    "nice": "of the workers' threads: higher yields more to an application on the same core",
    "shield": "for how long a TCP sender need not hear of disorder that is ours; 0: it hears all",
    "back": "pure TCP acknowledgements go out of the NIC without bridge and tunnel device",
    "cells": "packets of a flow for which a decision holds; 0: the policy makes each",
    "rps": "what stays on the NIC's core is handed to a worker's after GRO, each flow to one",
    "gro": "largest packet that GRO may make on the NIC (stock tunnels collapse); 0: left as it is",
}
"""Knobs that every policy of ours has: they belong to the datapath."""

_QUEUE = Knob(2048, 64, 16384, "packets", COMMON["queue"])
_NICE = Knob(0, 0, 19, "nice", COMMON["nice"])
_SHIELD = Knob(2000, 0, 100_000, "us", COMMON["shield"])
_BACK = Knob(1, 0, 1, "0/1", COMMON["back"])
_RPS = Knob(0, 0, 1, "0/1", COMMON["rps"])
_CELLS = Knob(0, 0, 4096, "packets", COMMON["cells"])
_GRO = Knob(0, 0, 524_280, "bytes", COMMON["gro"])


@dataclass(frozen=True)
class Plan:
    """What is to be attached. ``cores`` are the workers', in the order of their slots."""

    policy: Policy
    knobs: Mapping[str, int]
    cores: Sequence[int]
    delivery: Delivery = Delivery.PEER
    queue: int = _QUEUE.default
    nice: int = _NICE.default
    shield: int = _SHIELD.default
    """us; 0: down."""
    back: int = _BACK.default
    rps: int = _RPS.default
    cells: int = _CELLS.default
    gro: int = _GRO.default
    """Bytes; 0: as it is."""

    @property
    def ways_back(self) -> bool:
        """Whether acknowledgements are looked at."""
        return self.delivery is Delivery.PEER and bool(self.back or self.shield)

    @property
    def key(self) -> str:
        """Plans of one key differ in their knobs' values only: one compilation serves them."""
        place = f"{tuple(self.cores)}|{self.delivery}|{self.queue}|{self.nice}"
        place += f"|{self.shield}|{self.back}|{self.rps}|{self.gro}|{self.cells}"
        return f"{self.policy.folder}|{self.policy.digest}|{place}"

    def __post_init__(self) -> None:
        online = sorted(os.sched_getaffinity(0))
        most = header("policy.h").constants["MAX_WORKERS"]
        for core in self.cores:
            if core not in online:
                raise BadInput(f"core {core} does not exist here: choose from {online}")
        if len(set(self.cores)) != len(self.cores) or len(self.cores) > most:
            raise BadInput(f"workers {list(self.cores)}: each core once, at most {most}")


def read_plan(spec: Spec, cores: Sequence[int]) -> Plan:
    """The plan that a spec describes; ``cores`` are the workers' unless it has a ``mask``.

    Raises:
        BadInput: unknown policy, knob, delivery or core, or a value out of range.
    """
    policy = find(spec)
    own = {key: text for key, text in spec.args.items() if key not in COMMON}
    for key in own:
        if key not in policy.knobs:
            raise unknown(f"knob of policy '{policy.name}'", key, [*policy.knobs, *COMMON])
    deliver = spec.args.get("deliver", Delivery.PEER.value)
    if deliver not in list(Delivery):
        raise unknown("delivery", deliver, list(Delivery))
    if Need.CLEAR in policy.needs and deliver != Delivery.PEER:
        raise BadInput(
            f"policy '{policy.name}' with deliver={deliver}: it follows packets to their end, as "
            f"only the delivery 'peer' lets it: leave deliver out"
        )
    if "mask" in spec.args:
        cores = read_mask(spec.args["mask"])
    numbers = {
        "queue": _QUEUE,
        "nice": replace(_NICE, default=policy.nice),
        "shield": _SHIELD,
        "back": _BACK,
        "rps": replace(_RPS, default=int(policy.rps)),
        "gro": _GRO,
        "cells": _CELLS,
    }
    values = {
        name: knob.read(name, spec.args.get(name, str(knob.default)))
        for name, knob in numbers.items()
    }
    return Plan(policy, policy.values(own), tuple(cores), Delivery(deliver), **values)


def read_mask(text: str) -> list[int]:
    """The cores in a hexadecimal mask, lowest first."""
    try:
        mask = int(text, 16)
    except ValueError:
        mask = 0
    if mask <= 0:
        raise BadInput(f"mask={text}: a hexadecimal mask with at least one core is wanted")
    return [core for core in range(mask.bit_length()) if mask >> core & 1]


def read_cores(text: str) -> list[int]:
    """The cores in a list such as ``0,2-5``, in that order: the first is slot 1."""
    cores: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise BadInput(f"'{text}' is no list of cores: write them as 0,2-5")
        cores += range(int(first), int(last or first) + 1)
    if not cores or len(set(cores)) != len(cores):
        raise BadInput(f"'{text}': name each core once, as in 0,2-5")
    return cores
