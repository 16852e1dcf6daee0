"""A described experiment: what is asked, of which variants, under what traffic.

The description is a TOML file, or the ``experiment.json`` that a result directory keeps of it. What is sent
is a matrix of axes, each with one value or several; a *point* is one combination of them.
"""

import itertools
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from bench.axes import AXES, Point, Value
from steering.errors import BadInput

MOST_POINTS = 1000
RATES = "rates"
"""The plot of bars; the others are TRADE and ``x = AXIS``."""
TRADE = "trade"
"""The plot of throughput against order."""


class Mistakes(BadInput):
    """All that is wrong with a description: ``lines``, one each."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


@dataclass(frozen=True)
class Experiment:
    """A description without mistakes, and with the defaults of what it leaves out."""

    title: str
    question: str
    variants: tuple[str, ...]
    baseline: str
    pairs: tuple[tuple[str, str], ...]
    """What the findings compare: ours, and with what."""
    rounds: int = 11
    """In each batch, at each point."""
    batches: int = 1
    pause: float = 0.0
    """Seconds between two batches."""
    seconds: float = 1.0
    """Of each run, after its warm-up."""
    seed: int = 1
    plot: tuple[str, ...] = (RATES,)
    traffic: dict[str, list[Value]] = field(default_factory=dict)
    """The values of the axes that are named."""

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """Read TOML, to measure on this host. Mistakes has a line for each, BadInput where it is no TOML."""
        from bench.validation import canonical

        try:
            data = tomllib.loads(path.read_text())
        except FileNotFoundError:
            raise BadInput(f"'{path}' is missing: name a description in TOML") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"'{path}' is no TOML: {error}") from None
        except OSError as error:
            raise BadInput(f"can't read '{path}': {error.strerror}") from None
        return cls._of({"title": path.stem, **data}, str(path), canonical)

    @classmethod
    def of_saved(cls, description: Mapping[str, Any], where: str) -> Self:
        """Of what a result directory keeps, wherever it was measured; raises as :meth:`of_file`."""
        data = {name: value for name, value in description.items() if name not in ("format", "command")}
        if isinstance(traffic := data.get("traffic"), dict):  # format 1 has null for the word
            named = {name: axis.word for name, axis in AXES.items()}
            data["traffic"] = {
                name: named.get(name) if value is None else value for name, value in traffic.items()
            }
        return cls._of({"title": Path(where).parent.name, **data}, where)

    @classmethod
    def _of(cls, data: Mapping[str, Any], where: str, name: Callable[[str], str] | None = None) -> Self:
        """``name`` makes of a variant what results call it; None: it is called so, and not judged."""
        from bench.validation import listed, mistakes

        if found := [f"'{where}': {line}" for line in mistakes(data, here=name is not None)]:
            raise Mistakes(found)
        called = name or str
        variants = tuple(map(called, data["variants"]))
        baseline = called(data.get("baseline", variants[0]))
        default = [] if variants[-1] == baseline else [(variants[-1], baseline)]
        known = {each.name for each in fields(cls)}
        made = {
            **{key: value for key, value in data.items() if key in known},
            "question": data.get("question", ""),
            "variants": variants,
            "baseline": baseline,
            "pairs": tuple((called(ours), called(other)) for ours, other in data.get("pairs", default)),
            "plot": tuple(" ".join(each.split()) for each in data.get("plot", [RATES])),
            "traffic": {axis: listed(values) for axis, values in data.get("traffic", {}).items()},
        }
        return cls(**made)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, and to be read again."""
        return asdict(self)

    @property
    def points(self) -> list[Point]:
        """Every combination, the first axis varying slowest."""
        values = [self.traffic.get(name, [axis.default]) for name, axis in AXES.items()]
        return [dict(zip(AXES, each, strict=True)) for each in itertools.product(*values)]

    @property
    def varied(self) -> tuple[str, ...]:
        """Axes with more than one value."""
        return tuple(name for name in AXES if len(self.traffic.get(name, ())) > 1)

    def label(self, point: Mapping[str, Value], without: str = "") -> str:
        """What tells a point from the others: ``payload 18, flows 4``; empty for an only one."""
        return ", ".join(f"{name} {point[name]}" for name in self.varied if name != without)

    @property
    def lines(self) -> list[str]:
        """Axes over which rates are to be drawn."""
        return [name for plot in self.plot if (name := over(plot))]


def over(plot: str) -> str | None:
    """The axis of a plot ``x = AXIS``."""
    head, sign, name = plot.partition("=")
    return name.strip() if sign and head.strip() == "x" else None
