"""What may vary from point to point of an experiment: fields of `Traffic`, and parameters of the bed.

A new field of `Traffic` is an axis without a line here; a new parameter of the bed takes one in `_BED`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, Self, get_args, get_type_hints

from bench.lab_plan import Plan
from bench.traffic import MOST_LOSS, SEARCHES, Traffic
from steering import cores
from steering.errors import BadInput, unknown

Value = str | int | float | bool
"""Of an axis, as it is written in a description."""
Point = dict[str, Value]
"""A value for each axis."""

_WORDS = {"rate": "full", "core": "first"}
"""What is written for None, axis by axis; "none" for the others."""
_UNITS = {
    "payload": "bytes",
    "rate": "packets a second",
    "batch": "frames",
    "moderation": "µs",
    "mtu": "bytes",
}
"""For pictures; the others are plain counts or words."""
LOADS = ("given", *SEARCHES)
_NO_AXES = ("run",)
"""Fields of `Traffic` that tell runs apart, and are nothing to compare."""
_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


@dataclass(frozen=True)
class Axis:
    """One thing that may vary: ``parameter`` of `Traffic` or of the bed."""

    name: str
    parameter: str
    kinds: tuple[type, ...]
    default: Value
    word: str | None
    """Stands for None, where that is a value."""
    check: Callable[[Any], object] | None
    """Raises BadInput where a value of the bed can't be; None: an axis of `Traffic`, which checks itself."""

    @classmethod
    def make(
        cls,
        name: str,
        hint: Any,
        default: Any,
        parameter: str = "",
        check: Callable[[Any], object] | None = None,
    ) -> Self:
        """Of a type hint such as ``int`` or ``int | None``."""
        kinds = tuple(get_args(hint)) or (hint,)
        word = _WORDS.get(name, "none") if NoneType in kinds else None
        kept = tuple(kind for kind in kinds if kind is not NoneType)
        shown = (word or "none") if default is None else default
        return cls(name, parameter or name, kept, shown, word, check)

    def accepts(self, value: object) -> bool:
        """Whether it is of the right type: a bool is no number, and a whole number is a number."""
        kinds = (*self.kinds, int) if float in self.kinds else self.kinds
        return type(value) in kinds or (self.word is not None and value == self.word)

    def read(self, value: Value) -> Value | None:
        """As `Traffic` or the bed takes it."""
        return None if self.word is not None and value == self.word else value

    def probe(self, value: Value) -> None:
        """BadInput where the value is out of its range on this host, whatever the others are."""
        read = self.read(value)
        if self.check is None:
            Traffic(**{self.parameter: read})  # type: ignore[arg-type]
        elif read is not None:
            self.check(read)

    @property
    def title(self) -> str:
        """Its name, with the unit."""
        return f"{self.name}, {_UNITS[self.name]}" if self.name in _UNITS else self.name

    @property
    def allowed(self) -> str:
        """Its types, for messages."""
        words = [_KINDS.get(kind, kind.__name__) for kind in self.kinds]
        return " or ".join([*words, f"'{self.word}'"] if self.word else words)


def _sink(text: str) -> None:
    from bench.sink import user_of  # heavy

    user_of(text)


def _load(text: str) -> None:
    if text not in LOADS:
        raise unknown("load", text, LOADS)


def _loss(share: float) -> None:
    if not 0 <= share <= MOST_LOSS:
        raise BadInput(f"loss {share:g} is out of range: choose from 0 to {MOST_LOSS}")


_SEARCH = (
    Axis.make("load", str, LOADS[0], check=_load),
    Axis.make("loss", float, 0.001, check=_loss),
)
"""How each variant's load is found; neither the wire's nor the bed's."""
_BED = (
    Axis.make("containers", int, 1, check=lambda count: Plan("flannel", count)),
    Axis.make("mtu", int, Plan.inner_mtu, check=lambda mtu: Plan(inner_mtu=mtu)),
    Axis.make("ip", int, 4, check=lambda ip: Plan(inner=ip)),
    Axis.make("outer_ip", int, 4, check=lambda ip: Plan(outer=ip)),
    Axis.make("sink", str, "count", check=_sink),
    Axis.make("core", int | None, None, "nic_core", cores.require_usable),
)


def _axes() -> dict[str, Axis]:
    hints = get_type_hints(Traffic)
    sent = [each for each in fields(Traffic) if each.name not in _NO_AXES]
    of_traffic = [Axis.make(each.name, hints[each.name], each.default) for each in sent]
    return {axis.name: axis for axis in (*of_traffic, *_SEARCH, *_BED)}


AXES = _axes()


def traffic_of(point: Mapping[str, Value]) -> Traffic:
    """What is sent at a point; BadInput where a value is out of its range."""
    searched = [axis.name for axis in (*_SEARCH, *_BED)]
    return Traffic(**_parameters(point, [axis for axis in AXES.values() if axis.name not in searched]))


def bed_of(point: Mapping[str, Value]) -> dict[str, Any]:
    """What the bed is told at a point, beside variants and traffic."""
    return _parameters(point, _BED)


def search_of(point: Mapping[str, Value]) -> tuple[str, float] | None:
    """What load is searched for (`bench.search`), and the loss that it may have; None: none is."""
    found = _parameters(point, _SEARCH)
    load = found.get("load", LOADS[0])
    return None if load == LOADS[0] else (load, float(found.get("loss", 0.001)))


def filled(point: Mapping[str, Value]) -> Point:
    """With the defaults of axes that it does not name, which are newer than what it is from."""
    return {name: axis.default for name, axis in AXES.items()} | dict(point)


def _parameters(point: Mapping[str, Value], axes: Iterable[Axis]) -> dict[str, Any]:
    return {axis.parameter: axis.read(point[axis.name]) for axis in axes if axis.name in point}
