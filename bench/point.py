"""A point of an experiment: one combination of its matrix."""

from dataclasses import dataclass

from bench.variant import Variant
from steering.spec import Spec

ALONE = Spec("none")
"""No busy neighbour."""


@dataclass(frozen=True)
class Point:
    """One combination of the matrix, and what is compared at it."""

    traffic: Spec
    payload: int
    flows: int
    rate: int | str
    arrivals: Spec
    sink: Spec
    variants: tuple[Variant, ...]
    neighbour: Spec = ALONE

    @property
    def id(self) -> str:
        """Text that names the point in files: the same in every run of the same experiment."""
        flows = f"{self.flows} flow{'s' if self.flows > 1 else ''}"
        rate = f"{self.rate} pps" if isinstance(self.rate, int) else self.rate
        parts = (str(self.traffic), f"{self.payload} B", flows, rate)
        beside = () if self.neighbour == ALONE else (f"beside {self.neighbour}",)
        return ", ".join((*parts, str(self.arrivals), str(self.sink), *beside))

    @property
    def title(self) -> str:
        """The point for people: defaults left out."""
        load = {
            "best": "best load",
            "max": "all that goes",
            "search": "highest load without loss",
            "stock-limit": "the load that stock Linux at its best takes without loss",
        }
        rate = load.get(str(self.rate)) or f"{int(self.rate):,} packets/s"
        name, colon, knobs = str(self.traffic).partition(":")
        parts = [f"{name.upper()}{colon}{knobs}", f"{self.payload} B"]
        parts += [f"{self.flows} flow{'s' if self.flows > 1 else ''}", rate]
        if self.arrivals != Spec("constant"):
            parts.append(f"arrivals {self.arrivals}")
        if self.sink != Spec("count"):
            parts.append(f"sink {self.sink}")
        if self.neighbour != ALONE:
            parts.append(f"beside {self.neighbour}")
        return ", ".join(parts)
