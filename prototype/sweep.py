"""A sweep of the model: a TOML file's every combination, on all cores or on a cluster, resumable.

A sweep's folder holds ``sweep.toml`` and ``costs.json`` (copies of what it was made of), and
``samples.jsonl``: one run a line, in whatever order they came to an end.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prototype.costs import Costs
from prototype.model_load import MOST_CORES, MOST_FLOWS, Load, Machine
from prototype.model_path import Setup
from steering.errors import BadInput

SWEEP, COSTS, SAMPLES = "sweep.toml", "costs.json", "samples.jsonl"
_WINDOW = 512
_Most = Annotated[list[int], Field(min_length=1)]


class Sweep(BaseModel):
    """The file: lists are axes, all of whose combinations are run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"[a-z][a-z0-9_-]*")
    title: str = Field(min_length=1)
    variants: list[str] = Field(min_length=1)
    cores: _Most
    payload: _Most = [18]
    flows: _Most = [1]
    rate: list[float | Literal["max"]] = Field(default=["max"], min_length=1)
    """Packets a second over all flows."""
    link: float = Field(default=100e9, gt=0)
    """bit/s."""
    queues: int = Field(default=1, ge=1, le=MOST_CORES)
    """Of the NIC; on fewer cores as many as there are."""
    protocol: Literal["udp", "tcp"] = "udp"
    reads: bool = False
    seconds: float = Field(default=0.1, gt=0, le=1000)
    seed: int = Field(default=1, ge=0)

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """Read a file's text.

        Raises:
            BadInput: not TOML, a key or value that does not exist, or nothing the model has.
        """
        import tomllib

        try:
            found = cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise BadInput(f"sweep '{where}': {error}") from None
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise BadInput(f"sweep '{where}': {key}: {first['msg']}") from None
        for point in found.points():
            point.parsed()
        return found

    def points(self) -> list["Point"]:
        """All runs, the first axis varying least."""
        axes = (self.variants, self.cores, self.payload, self.flows, self.rate)
        return [
            Point(*each, self.link, min(self.queues, each[1]), self.protocol, self.reads)
            for each in itertools.product(*axes)
        ]


@dataclass(frozen=True)
class Point:
    """One run, as plain values: what a worker elsewhere is sent."""

    variant: str
    cores: int
    payload: int
    flows: int
    rate: float | str
    link: float
    queues: int
    protocol: str
    reads: bool

    @property
    def key(self) -> str:
        """Names the run in a sweep."""
        return f"{self.variant} | {self.cores} | {self.payload} | {self.flows} | {self.rate}"

    def parsed(self, seconds: float = 0.1, seed: int = 1) -> tuple[Setup, Machine, Load]:
        """What the model runs for it; BadInput for what it does not have."""
        if self.flows > MOST_FLOWS:
            raise BadInput(f"flows {self.flows}: 1 to {MOST_FLOWS}")
        tcp = self.protocol == "tcp"
        load = Load(
            payload=self.payload,
            flows=self.flows,
            rate=None if isinstance(self.rate, str) else self.rate,
            protocol="tcp" if tcp else "udp",
            reads=self.reads,
            window=_WINDOW if tcp else 0,
            seconds=seconds,
            warmup=seconds / 10,
            seed=seed,
        )
        machine = Machine(cores=self.cores, queues=self.queues, link=self.link)
        return Setup.parse(self.variant), machine, load


class _Latency(BaseModel):
    p99: float


class _Run(BaseModel):
    """What is shown of a run; the rest is kept as it is."""

    key: str
    point: dict[str, Any]
    rate_pps: float
    loss: float
    order: dict[str, Any]
    latency: _Latency


class Folder:
    """A sweep's results; make one with :meth:`create` or :meth:`open`."""

    def __init__(self, path: Path, sweep: Sweep, costs: Costs) -> None:
        self.path, self.sweep, self.costs = path, sweep, costs

    @classmethod
    def create(cls, root: Path, file: Path, costs: Costs) -> "Folder":
        """A new folder ``root/TIME-NAME`` for a sweep's file.

        Raises:
            BadInput: no such file, no sweep, or the folder can't be made.
        """
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"read sweep '{file}': {error}") from None
        sweep = Sweep.parse(text, str(file))
        path = root / f"{time.strftime('%Y%m%d-%H%M%S')}-twin-{sweep.name}"
        try:
            path.mkdir(parents=True)
            (path / SWEEP).write_text(text)
            costs.write(path / COSTS)
            (path / SAMPLES).touch()
        except OSError as error:
            raise BadInput(f"make '{path}': {error.strerror}") from None
        return cls(path, sweep, costs)

    @classmethod
    def open(cls, path: Path) -> "Folder":
        """One that is there; BadInput if it is none."""
        try:
            text = (path / SWEEP).read_text()
        except (OSError, UnicodeDecodeError):
            raise BadInput(f"'{path}' is no sweep's folder: no {SWEEP} can be read") from None
        return cls(path, Sweep.parse(text, str(path / SWEEP)), Costs.read(path / COSTS))

    def samples(self) -> list[dict[str, Any]]:
        """All runs so far, in the order of the sweep; an unfinished last line is left out."""
        found: dict[str, dict[str, Any]] = {}
        for number, line in enumerate((self.path / SAMPLES).read_bytes().splitlines(True), 1):
            if not line.endswith(b"\n"):
                continue
            try:
                row = json.loads(line)
                found[_Run.model_validate(row).key] = row
            except (ValueError, KeyError, TypeError):
                raise BadInput(f"{self.path / SAMPLES}, line {number}: damaged") from None
        return [found[point.key] for point in self.sweep.points() if point.key in found]

    def missing(self) -> list[Point]:
        """What has not been run yet."""
        done = {row["key"] for row in self.samples()}
        return [point for point in self.sweep.points() if point.key not in done]

    def run(self, workers: Executor, note: Callable[[int], object] = lambda done: None) -> None:
        """Run what is missing; ``note`` is told how many runs are done."""
        points = self.missing()
        text, sweep = self.costs.model_dump_json(), self.sweep
        todo = {
            workers.submit(run_point, point, text, sweep.seconds, sweep.seed) for point in points
        }
        done = len(sweep.points()) - len(points)
        self._cut_unfinished()
        with (self.path / SAMPLES).open("a") as stream:
            for future in as_completed(todo):
                stream.write(json.dumps(future.result()) + "\n")
                stream.flush()
                done += 1
                note(done)

    def _cut_unfinished(self) -> None:
        file = self.path / SAMPLES
        lines = file.read_text().splitlines(True)
        if lines and not lines[-1].endswith("\n"):
            file.write_text("".join(lines[:-1]))


def run_point(point: Point, costs: str, seconds: float, seed: int) -> dict[str, Any]:
    """One run, wherever it is: plain values in, plain values out, the same for the same seed."""
    from prototype.model import simulate

    outcome = simulate(*point.parsed(seconds, seed), Costs.model_validate_json(costs))
    found = {"key": point.key, "point": asdict(point), **outcome.as_dict()}
    # As JSON has it, so that what comes from a cluster and what is read from a file are equal.
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def by_variant(samples: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Runs of each variant, in the order of the sweep."""
    for name in dict.fromkeys(row["point"]["variant"] for row in samples):
        yield name, [row for row in samples if row["point"]["variant"] == name]
