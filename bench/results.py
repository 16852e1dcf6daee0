"""A result directory: what was asked, what the host was like, and every run, raw.

``experiment.json`` (the description), ``fingerprint-before.json`` and ``-after.json``, ``samples.jsonl`` (one
run a line). Nothing is ever overwritten: a new experiment is a new directory.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.fingerprint import fingerprint
from steering.errors import BadInput, OversprayError

EXPERIMENT, SAMPLES = "experiment.json", "samples.jsonl"
Sample = dict[str, Any]
"""One run, flat; ``latency`` in ns, ``rate`` in packets a second, shares from 0 to 1."""
_NEEDED: dict[str, type | tuple[type, ...]] = {
    "variant": str,
    "round": int,
    "offered": int,
    "delivered": int,
    "rate": (int, float),
    "cores": dict,
}
"""What no sample may lack, with its type."""


@dataclass(frozen=True)
class Loaded:
    """What a result directory holds; ``samples`` in the order in which they ran."""

    description: dict[str, Any]
    samples: list[Sample]
    before: dict[str, Any]
    after: dict[str, Any]


class Results:
    """The files of one experiment while it runs."""

    def __init__(self, directory: Path) -> None:
        """Make the directory. BadInput where it cannot be made, or holds something already."""
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            taken = any(directory.iterdir())
        except OSError as error:
            raise BadInput(f"can't make result directory '{directory}': {error.strerror}") from None
        if taken:
            raise BadInput(f"'{directory}' is not empty, and results are never overwritten: name a new one")
        self._create(SAMPLES, "")

    def describe(self, description: Mapping[str, Any]) -> None:
        """Keep what was asked for; OversprayError where that was said already."""
        self._create(EXPERIMENT, json.dumps(description, indent=1) + "\n")

    def add(self, sample: Mapping[str, Any]) -> None:
        """Append one run; it is in the file when this returns."""
        line = json.dumps(sample, allow_nan=False) + "\n"
        with (self.directory / SAMPLES).open("a") as file:
            file.write(line)

    def fingerprint(self, when: Literal["before", "after"]) -> None:
        """Keep what the host is like now; OversprayError where that was done already."""
        self._create(_fingerprint_file(when), json.dumps(fingerprint(), indent=1) + "\n")

    def _create(self, name: str, text: str) -> None:
        try:
            with (self.directory / name).open("x") as file:
                file.write(text)
        except FileExistsError:
            raise OversprayError(f"'{self.directory / name}' is there already: not overwritten") from None


def load(directory: Path) -> Loaded:
    """Read what `Results` wrote. BadInput names the file, and the line, that is missing or damaged."""
    description = _object(_text(directory / EXPERIMENT), f"'{directory / EXPERIMENT}'")
    samples = _samples(directory / SAMPLES)
    before, after = (directory / _fingerprint_file(when) for when in ("before", "after"))
    return Loaded(
        description,
        samples,
        _object(_text(before), f"'{before}'"),
        _object(_text(after), f"'{after}'"),
    )


def _fingerprint_file(when: str) -> str:
    return f"fingerprint-{when}.json"


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        raise BadInput(f"'{file}' is missing: no results, or of a run that did not end") from None
    except UnicodeDecodeError:
        raise BadInput(f"'{file}' is damaged: not text") from None
    except OSError as error:
        raise BadInput(f"can't read '{file}': {error.strerror}") from None


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        raise BadInput(f"{where} is damaged: not JSON") from None
    if not isinstance(found, dict):
        raise BadInput(f"{where} is damaged: not a JSON object")
    return found


def _samples(file: Path) -> list[Sample]:
    found: dict[tuple[str, int], Sample] = {}
    for number, line in enumerate(_text(file).splitlines(), start=1):
        where = f"'{file}', line {number},"
        sample = _object(line, where)
        for key, kind in _NEEDED.items():
            if not isinstance(sample.get(key), kind):
                raise BadInput(f"{where} is damaged: its '{key}' is {sample.get(key, 'missing')!r}")
        run = (sample["variant"], sample["round"])
        if found.setdefault(run, sample) is not sample:
            raise BadInput(f"{where} is damaged: a second run of {run[0]} in round {run[1]}")
    if not found:
        raise BadInput(f"'{file}' is empty: nothing was measured")
    return list(found.values())
