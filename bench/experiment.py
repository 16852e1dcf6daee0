"""A described experiment: one TOML file that says what is measured, how often, and what is drawn.

The matrix is expanded to points; at each point all variants are compared with each other, round by
round. Unknown keys and values out of range are one line that names the file, the key, and what is
allowed.
"""

import itertools
import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.functional_validators import (
    AfterValidator,
    BeforeValidator,
    PlainValidator,
    model_validator,
)

from bench.point import ALONE
from bench.point import Point as Point
from bench.variant import CASES, Variant
from steering.errors import BadInput
from steering.spec import Spec

Plot = Literal["throughput", "ratio", "loss", "order", "latency", "cpu", "trade", "frontier"]
FORMS = ("full", "quick")
RATES = ("max", "best", "search", "stock-limit")

# Seconds beside the measured ones, for --dry-run: settings changed and put back, counters read.
OVERHEAD = 0.35
# Short runs (half as long) that find a variant's best offered load, once before the rounds.
PROBES = 5


@contextmanager
def _key_named() -> Iterator[None]:
    """Let pydantic name the key that holds the bad text."""
    try:
        yield
    except BadInput as error:
        raise ValueError(str(error)) from None


def _spec(text: Any) -> Any:
    with _key_named():
        return Spec.parse(text) if isinstance(text, str) else text


def _known_rate(value: Any) -> int | str:
    if value in RATES or (isinstance(value, int) and value >= 1):
        return value  # type: ignore[no-any-return]
    raise ValueError(f"choose packets a second or one of {', '.join(RATES)}")


def _known_traffic(spec: Spec) -> Spec:
    from bench.traffic import Traffic

    with _key_named():
        Traffic(kind=spec)
    return spec


def _known_neighbour(spec: Spec) -> Spec:
    from bench.neighbour import check

    with _key_named():
        check(spec)
    return spec


def _known_arrivals(spec: Spec) -> Spec:
    # Brings in the wire's headers: only experiments that are read need it.
    from bench.traffic import Traffic

    with _key_named():
        Traffic(arrivals=spec)
    return spec


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = [str(value) for value in values if values.count(value) > 1]
    if twice:
        raise ValueError(f"'{twice[0]}' stands twice")
    return values


Rate = Annotated[int | str, PlainValidator(_known_rate)]
SpecText = Annotated[Spec, BeforeValidator(_spec), PlainSerializer(str)]
Arrivals = Annotated[SpecText, AfterValidator(_known_arrivals)]
Kind = Annotated[SpecText, AfterValidator(_known_traffic)]


Neighbour = Annotated[SpecText, AfterValidator(_known_neighbour)]


class _Section(BaseModel):
    # Specs are plain dataclasses: pydantic takes them as they are.
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Matrix(_Section):
    """What is varied. A point is one combination; every list has one entry unless given."""

    traffic: tuple[Kind, ...] = Field(default=(Spec("udp"),), min_length=1)
    payload: tuple[Annotated[int, Field(ge=18, le=65_000)], ...] = Field(
        default=(18,), min_length=1
    )
    flows: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(default=(1,), min_length=1)
    rate: tuple[Rate, ...] = Field(default=("best",), min_length=1)
    arrivals: tuple[Arrivals, ...] = Field(default=(Spec("constant"),), min_length=1)
    sink: tuple[SpecText, ...] = Field(default=(Spec("count"),), min_length=1)
    neighbour: tuple[Neighbour, ...] = Field(default=(ALONE,), min_length=1)

    @model_validator(mode="after")
    def _no_point_twice(self) -> Self:
        for name in type(self).model_fields:
            _distinct(getattr(self, name))
        return self


class Group(_Section):
    """Variants that run in each of ``cases``; they are written without a case."""

    cases: tuple[Literal["native", "linux", "docker", "flannel"], ...] = Field(min_length=1)
    variants: tuple[str, ...] = Field(min_length=1)

    def expand(self) -> list[Variant]:
        """Every variant in every case."""
        return [
            _in_overlay(Variant.parse(f"{case}/{text}"))
            for case, text in itertools.product(self.cases, self.variants)
        ]

    @model_validator(mode="after")
    def _readable(self) -> Self:
        with _key_named():
            self.expand()
        return self


class Placement(_Section):
    """Cores. No workers: every core but the NIC's. No application core: the last worker."""

    nic: Annotated[int, Field(ge=0)] = 0
    workers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    app: Annotated[int, Field(ge=0)] | None = None

    def on(self, online: Sequence[int]) -> "Placement":
        """The same with nothing left open, for a host with these cores.

        Raises:
            BadInput: a core that the host does not have, or no worker.
        """
        workers = self.workers or tuple(core for core in online if core != self.nic)
        if not workers:
            raise BadInput("no core is left for a worker: this host has only one")
        app = workers[-1] if self.app is None else self.app
        missing = sorted({self.nic, *workers, app} - set(online))
        if missing:
            have = ", ".join(map(str, online))
            raise BadInput(f"core {missing[0]} does not exist: choose from {have}")
        return Placement(nic=self.nic, workers=workers, app=app)


class LabShape(_Section):
    """What all labs of the experiment have in common."""

    mtu: Annotated[int, Field(ge=576, le=3504)] = 1500
    containers: Annotated[int, Field(ge=1, le=80)] = 1
    outer: Literal[4, 6] = 4
    inner: Literal[4, 6] = 4


class Limits(_Section):
    """Where a verdict turns: shares from 0 to 1."""

    margin: Annotated[float, Field(gt=0, lt=1)] = 0.03
    """Differences up to this are equivalent."""
    loss: Annotated[float, Field(ge=0, lt=1)] = 0.001
    """``rate = "search"`` finds the highest offered rate that loses no more."""
    steal: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Where the hypervisor gives more of the cores' time to others (median of the rounds), a
    comparison is invalid."""
    other: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Where threads with no part in the run take more of any one core, too."""


class Experiment(_Section):
    """The whole file. ``baselines``: a variant without a case stands for that of each case."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str
    question: str
    description: str = ""
    rounds: Annotated[int, Field(ge=1)] = 10
    seconds: Annotated[float, Field(gt=0)] = 1.0
    warmup: Annotated[float, Field(ge=0)] = 0.2
    seed: int = 1
    baselines: tuple[str, ...] = Field(min_length=1)
    plots: tuple[Plot, ...] = get_args(Plot)
    matrix: Matrix = Matrix()
    more: tuple[Matrix, ...] = ()
    """Further matrices: what one product of axes can't say, such as a sink for each protocol."""
    profile: Annotated[float, Field(ge=0)] = 0.0
    """Seconds for which each variant's stacks are sampled at each point, after the rounds."""
    groups: tuple[Group, ...] = Field(min_length=1)
    lab: LabShape = LabShape()
    placement: Placement = Placement()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _no_point_twice(self) -> Self:
        _distinct(tuple(point.id for point in self.points()))
        return self

    @model_validator(mode="after")
    def _baselines_take_part(self) -> Self:
        variants = _distinct(self.variants())
        for text in self.baselines:
            with _key_named():
                found = any(self.baseline_of(variant, text) in variants for variant in variants)
            if not found:
                raise ValueError(f"baseline '{text}' is none of the variants")
        return self

    def variants(self) -> tuple[Variant, ...]:
        """All variants, in the order of the file."""
        return tuple(variant for group in self.groups for variant in group.expand())

    def baseline_of(self, variant: Variant, text: str) -> Variant:
        """What ``variant`` is compared with: ``text``, in its own case unless that names one."""
        named = any(text.startswith(f"{case}/") for case in CASES)
        return Variant.parse(text if named else f"{variant.case}/{text}")

    def points(self) -> list[Point]:
        """The matrix as a list, payload varying before rate; in the order of the file."""
        return [
            Point(traffic, payload, flows, rate, arrivals, sink, self.variants(), beside)
            for axes in (self.matrix, *self.more)
            for traffic, sink, arrivals, beside, flows, payload, rate in itertools.product(
                axes.traffic,
                axes.sink,
                axes.arrivals,
                axes.neighbour,
                axes.flows,
                axes.payload,
                axes.rate,
            )
        ]

    def order(self, point: Point, round_number: int) -> list[Variant]:
        """The variants of one round in seeded random order: a resumed run has the same."""
        variants = list(point.variants)
        random.Random(f"{self.seed}/{point.id}/{round_number}").shuffle(variants)
        return variants

    def run_seed(self, point: Point, round_number: int) -> int:
        """What drives arrivals in a round: the same for all its variants."""
        return random.Random(f"{self.seed}/{point.id}/{round_number}/arrivals").getrandbits(31)

    def runs(self) -> int:
        """Measured runs in all."""
        return self.rounds * sum(len(point.variants) for point in self.points())

    def estimate(self, overhead: float = OVERHEAD, probes: int = PROBES) -> float:
        """About how many seconds it takes; the two parameters are the runner's."""
        total = self.runs() * (self.warmup + self.seconds + overhead)
        searched = [point for point in self.points() if point.rate in ("best", "search")]
        probe = self.warmup + self.seconds / 2
        limits = [point for point in self.points() if point.rate == "stock-limit"]
        total += len(limits) * 2 * probes * probe
        if self.profile:
            total += sum(len(point.variants) for point in self.points()) * 2 * self.profile
        return total + sum(len(point.variants) for point in searched) * probes * probe


def load(path: Path) -> Experiment:
    """Read an experiment.

    Raises:
        BadInput: no such file, no TOML, or a key or value that is not allowed.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise BadInput(f"can't read experiment '{path}': {reason}") from None
    return parse(text, str(path))


def parse(text: str, where: str) -> Experiment:
    """Read an experiment from the text of a file called ``where``; see :func:`load`."""
    try:
        return Experiment.model_validate(_in_form(tomllib.loads(text), where))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{where}: not TOML: {error}") from None
    except ValidationError as error:
        raise BadInput(f"{where}: {_first_line(error)}") from None


def quick(text: str) -> str:
    """The text of an experiment in its quick form: what its section ``quick`` says holds."""
    return f'form = "quick"\n{text}'


def _in_form(data: dict[str, Any], where: str) -> dict[str, Any]:
    """With what ``quick`` says in place of the rest if ``form`` is that; these two left out."""
    form, shorter = data.pop("form", "full"), data.pop("quick", {})
    if form not in FORMS:
        raise BadInput(f"{where}: form: choose from {', '.join(FORMS)} (not '{form}')")
    if not isinstance(shorter, dict):
        raise BadInput(f"{where}: quick: a section is wanted, such as [quick]")
    if form == "full":
        return data
    if "matrix" in shorter:
        shorter.setdefault("more", [])
    return data | shorter


def _in_overlay(variant: Variant) -> Variant:
    if variant.case == "native" and variant.family == "ours":
        raise BadInput(f"'{variant}': our steering strips a tunnel, which case native has not")
    return variant


def _first_line(error: ValidationError) -> str:
    """The first complaint as ``key: what is wrong``; unknown keys come before the others."""
    found = error.errors(include_url=False)
    first = min(found, key=lambda one: one["type"] != "extra_forbidden")
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(sorted(_fields(place[:-1])))
        return f"unknown key '{key}': choose from {allowed}"
    if first["type"] == "missing":
        return f"key '{key}' is missing"
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    if isinstance(first["input"], str | int | float) and f"'{first['input']}'" not in message:
        message += f" (not {first['input']!r})"
    return f"{key}: {message}" if key else message


def _fields(place: Sequence[str]) -> Mapping[str, Any]:
    """Keys allowed at a place in the file."""
    sections: dict[str, type[BaseModel]] = {
        "matrix": Matrix,
        "more": Matrix,
        "groups": Group,
        "lab": LabShape,
        "placement": Placement,
        "limits": Limits,
    }
    return (sections[place[0]] if place else Experiment).model_fields
