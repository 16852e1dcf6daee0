"""Knobs: the numbers by which a policy or a stock setting is tuned, declared once with unit and range."""

from collections.abc import Mapping
from dataclasses import dataclass

from steering import cores
from steering.errors import BadInput, unknown


@dataclass(frozen=True)
class Knob:
    """A 32-bit unsigned number with a default and a range."""

    default: int
    low: int
    high: int
    unit: str
    help: str

    def read(self, name: str, text: str) -> int:
        """The value that a person wrote, decimal or 0x…; BadInput where it is none, or out of range."""
        try:
            value = int(text, 0)
        except ValueError:
            raise BadInput(
                f"{name}={text}: a number in {self.unit} is wanted: choose from {self.low} to {self.high}"
            ) from None
        if not self.low <= value <= self.high:
            raise BadInput(
                f"{name}={value} is out of range: choose from {self.low} to {self.high} {self.unit}"
            )
        return value


class Mask(Knob):
    """A set of cores, hexadecimal; 0 stands for what is so if it is left out."""

    def read(self, name: str, text: str) -> int:
        """The mask; BadInput where it is none, or has a core that may not be used here."""
        found = cores.from_mask(text, name)
        for core in found:
            cores.require_usable(core)
        return sum(1 << core for core in found)


def cores_knob(help: str) -> Mask:
    """A knob that is a set of cores."""
    return Mask(0, 1, (1 << 64) - 1, "cores (hexadecimal)", help)


def read_knobs(owner: str, knobs: Mapping[str, Knob], args: Mapping[str, str]) -> dict[str, int]:
    """Every knob's value: what was written, else the default; BadInput names the ``owner``'s knobs."""
    for key in args:
        if key not in knobs:
            raise unknown(f"knob of {owner}", key, knobs or ["none"])
    return {key: knob.read(key, args[key]) if key in args else knob.default for key, knob in knobs.items()}
