"""A result directory: what was asked, what the host was like, and every run, raw.

``experiment.toml`` (a copy), ``fingerprint-before.json`` and ``-after.json`` (numbered when a run
was resumed), ``samples.jsonl`` (one run a line), ``observers.json`` (what counting costs).
Nothing is overwritten; a new run is a new directory, and samples are only appended.
"""

import json
import os
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from bench import experiment
from bench.sample import SCHEMA, Sample
from bench.stages import Profile
from steering import files
from steering.errors import BadInput

EXPERIMENT = "experiment.toml"
SAMPLES = "samples.jsonl"
PROFILES = "profiles.jsonl"
OBSERVERS = "observers.json"

_PROFILE = TypeAdapter(Profile)
_COSTS = TypeAdapter(dict[str, float])

Key = tuple[str, int, str]
"""Point, round and variant: what a sample is of."""


class Results:
    """The files of one run of an experiment; make one with :meth:`create` or :meth:`open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._repaired = False

    @classmethod
    def create(cls, root: Path, name: str, text: str) -> "Results":
        """A new directory ``root/TIME-name`` that holds ``text`` as its experiment.

        Raises:
            BadInput: it can't be made, or is there already.
        """
        return cls.begin(root / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}", text)

    @classmethod
    def begin(cls, path: Path, text: str) -> "Results":
        """The same, in a directory of this name; raises as :meth:`create`."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
            (path / SAMPLES).touch()
        except OSError as error:
            raise BadInput(f"can't make result directory '{path}': {error.strerror}") from None
        files.replace(path / EXPERIMENT, text)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "Results":
        """Results that are there, to be read or resumed.

        Raises:
            BadInput: not a result directory.
        """
        for name in (EXPERIMENT, SAMPLES):
            if not (path / name).is_file():
                raise BadInput(f"'{path}' is no result directory: it has no {name}")
        return cls(path)

    @cached_property
    def experiment(self) -> experiment.Experiment:
        """The experiment as it was when it ran; BadInput if the copy is damaged."""
        return experiment.load(self.path / EXPERIMENT)

    def add(self, sample: Sample) -> None:
        """Append one run. A line that a killed writer left unfinished is cut off first.

        Raises:
            OversprayError: the disk is full: those before are as they were.
        """
        file = self.path / SAMPLES
        if not self._repaired:
            _cut_unfinished(file)
            self._repaired = True
        files.append(file, sample.model_dump_json().encode() + b"\n")

    def samples(self) -> list[Sample]:
        """All runs, in the order in which they ran.

        Raises:
            BadInput: a line is no sample of this version, or two are of the same run; an
                unfinished last line is left out.
        """
        file = self.path / SAMPLES
        lines = file.read_bytes().split(b"\n")
        finished = lines[:-1]
        found: dict[Key, Sample] = {}
        for number, line in enumerate(finished, start=1):
            sample = _parse(line, f"{file}, line {number}")
            key = (sample.point, sample.round, sample.variant)
            if key in found:
                raise BadInput(f"{file}, line {number}: a second sample of {_describe(key)}")
            found[key] = sample
        return list(found.values())

    def done(self) -> set[Key]:
        """Which runs need not be repeated when the experiment is resumed."""
        return {(sample.point, sample.round, sample.variant) for sample in self.samples()}

    def add_profile(self, point: str, found: Profile) -> None:
        """Append one profile."""
        line = {"point": point, **vars(found)}
        files.append(self.path / PROFILES, json.dumps(line).encode() + b"\n")

    def profiles(self) -> dict[tuple[str, str], Profile]:
        """All profiles by point and variant; BadInput if a line is damaged."""
        file = self.path / PROFILES
        found: dict[tuple[str, str], Profile] = {}
        for number, line in enumerate(file.read_bytes().splitlines() if file.is_file() else [], 1):
            try:
                data = json.loads(line)
                point = str(data.pop("point"))
                profile = _PROFILE.validate_python(data)
                found[point, profile.variant] = profile
            except (ValueError, KeyError, TypeError, AttributeError):
                raise BadInput(f"{file}, line {number}: damaged: no profile") from None
        return found

    def put_own_cost(self, point: str, costs: Mapping[str, float]) -> None:
        """Keep what the observers take of each variant's packets at this point, ns a packet."""
        text = json.dumps({"point": point, "ns_per_packet": dict(costs)}, indent=1)
        files.replace(self.path / OBSERVERS, text + "\n")

    def own_cost(self) -> tuple[str, dict[str, float]]:
        """The point and the observers' ns a packet by variant; none where it was not measured."""
        file = self.path / OBSERVERS
        if not file.is_file():
            return "", {}
        found = _read_json(file)
        try:
            return str(found["point"]), _COSTS.validate_python(found["ns_per_packet"])
        except (KeyError, ValidationError):
            raise BadInput(f"{file}: damaged: no costs of the observers") from None

    def add_fingerprint(self, when: Literal["before", "after"], data: dict[str, Any]) -> Path:
        """Keep what the host is like; a second one of the same name is numbered."""
        for number in range(1, 1000):
            suffix = f"-{number}" if number > 1 else ""
            path = self.path / f"fingerprint-{when}{suffix}.json"
            if not path.exists():
                files.replace(path, json.dumps(data, indent=1) + "\n")
                return path
        raise BadInput(f"'{self.path}' was resumed too often: start a new run")

    def fingerprints(self, when: Literal["before", "after"]) -> list[dict[str, Any]]:
        """What the host was like, the first session first; BadInput if a file is damaged."""
        pattern = f"fingerprint-{when}*.json"
        files = sorted(self.path.glob(pattern), key=lambda file: (len(file.name), file.name))
        found = [_read_json(file) for file in files]
        for file, each in zip(files, found, strict=True):
            if not isinstance(each.get("cores", []), list):
                raise BadInput(f"{file}: damaged: 'cores' is no list")
        return found


def _cut_unfinished(file: Path) -> None:
    content = file.read_bytes()
    if content and not content.endswith(b"\n"):
        os.truncate(file, content.rfind(b"\n") + 1)


def _parse(line: bytes, where: str) -> Sample:
    try:
        data = json.loads(line)
    except ValueError:
        raise BadInput(f"{where}: damaged: not JSON") from None
    version = data.get("version") if isinstance(data, dict) else None
    if version != SCHEMA:
        raise BadInput(f"{where}: written as version {version}, this program reads {SCHEMA}")
    try:
        return Sample.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise BadInput(f"{where}: no sample: {key}: {first['msg']}") from None


def _describe(key: Key) -> str:
    point, round_number, variant = key
    return f"'{variant}' at '{point}' in round {round_number}"


def _read_json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text())
    except (OSError, ValueError):
        raise BadInput(f"{file}: damaged: not JSON") from None
    if not isinstance(data, dict):
        raise BadInput(f"{file}: damaged: not a fingerprint")
    return data
