"""A result directory: what was asked, what the host was like, and every run, raw.

``experiment.json`` (the description), ``samples.jsonl`` (one run a line), and for each session of measuring
``fingerprint-before.json`` and ``-after.json``, of later ones with their number: ``-before-2.json``.
Nothing is ever overwritten. A last line that was torn, for the disk was full or the power went, is moved to
``torn-N.txt`` before anything is appended.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

from bench.fingerprint import fingerprint
from steering.errors import BadInput, OversprayError

FORMAT = 2
"""Of the files. 1, which does not say so, had no batches, points, sessions and titles."""
EXPERIMENT, SAMPLES = "experiment.json", "samples.jsonl"
Sample = dict[str, Any]
"""One run, flat; ``latency`` in ns, ``rate`` in packets a second, shares from 0 to 1."""

_NUMBER, _WHOLE = (int, float), (int,)
_EACH = "*"
_NUMBERS: dict[str, Any] = {_EACH: _NUMBER}
_NEEDED: dict[str, Any] = {
    "variant": str,
    "round": _WHOLE,
    "offered": _WHOLE,
    "delivered": _WHOLE,
    "rate": _NUMBER,
    "cores": {_EACH: _NUMBERS},
}
"""What no sample may lack, with its form; numbers are finite and not negative."""
_KNOWN: dict[str, Any] = _NEEDED | {
    "batch": _WHOLE,
    "session": _WHOLE,
    "point": {_EACH: (str, int, float, bool)},
    "bytes": _WHOLE,
    "seconds": _NUMBER,
    "offered_rate": _NUMBER,
    "drops": {_EACH: {_EACH: _WHOLE}},
    "wire_share": _NUMBER,
    "limited": bool,
    "settings": {_EACH: str},
    "invalid": [str],
}
_MEASURED = ("order", "latency", "per_packet")
"""Numbers by name, or null where none were measured."""


@dataclass(frozen=True)
class Session:
    """One stretch of measuring; ``after`` is None where it was killed."""

    before: dict[str, Any]
    after: dict[str, Any] | None


@dataclass(frozen=True)
class Loaded:
    """What a result directory holds; ``samples`` in the order in which they ran."""

    description: dict[str, Any]
    samples: list[Sample]
    sessions: tuple[Session, ...]
    torn: str = ""
    """What stands of a last line that was not written whole."""

    @property
    def before(self) -> dict[str, Any]:
        """The host before the first run."""
        return self.sessions[0].before

    @property
    def after(self) -> dict[str, Any] | None:
        """The host after the last run."""
        return self.sessions[-1].after


def require_room(directory: Path) -> None:
    """Make the directory where there is none. BadInput where it cannot be made or read."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        any(directory.iterdir())
    except OSError as error:
        raise BadInput(f"can't make result directory '{directory}': {error.strerror}") from None


class Results:
    """The files of one experiment while it runs."""

    def __init__(self, directory: Path) -> None:
        """Make the directory. Raises as :func:`require_room`; BadInput where it holds something already."""
        self.directory, self.session = directory, 1
        require_room(directory)
        if any(directory.iterdir()):
            raise BadInput(f"'{directory}' is not empty, and results are never overwritten: name a new one")
        self._create(SAMPLES, "")

    @classmethod
    def resumed(cls, directory: Path) -> Self:
        """Go on in a directory that `read` could read: a session of its own, a torn last line set aside."""
        made = cls.__new__(cls)
        made.directory = directory
        made.session = 1 + sum(1 for _ in directory.glob(_fingerprint_file("before", "*")))
        made._set_aside()
        return made

    def describe(self, description: Mapping[str, Any]) -> None:
        """Keep what was asked for; OversprayError where that was said already."""
        self._create(EXPERIMENT, json.dumps({"format": FORMAT, **description}, indent=1) + "\n")

    def add(self, sample: Mapping[str, Any]) -> None:
        """Append one run; it is in the file when this returns. OversprayError where there is no room."""
        line = json.dumps(sample, allow_nan=False) + "\n"
        try:
            with (self.directory / SAMPLES).open("a") as file:
                file.write(line)
        except OSError as error:
            _full(self.directory / SAMPLES, error)

    def fingerprint(self, when: Literal["before", "after"]) -> None:
        """Keep what the host is like now; OversprayError where that was done already."""
        self._create(_fingerprint_file(when, self.session), json.dumps(fingerprint(), indent=1) + "\n")

    def _create(self, name: str, text: str) -> None:
        """A new file, whole or not at all."""
        file, part = self.directory / name, self.directory / f".{name}.{os.getpid()}"
        try:
            part.write_text(text)
            os.link(part, file)
        except FileExistsError:
            raise OversprayError(f"'{file}' is there already: not overwritten") from None
        except OSError as error:
            _full(file, error)
        finally:
            with suppress(OSError):
                part.unlink()

    def _set_aside(self) -> None:
        file = self.directory / SAMPLES
        text = file.read_bytes()
        whole, _, torn = text.rpartition(b"\n")
        if torn:
            number = 1 + sum(1 for _ in self.directory.glob("torn-*.txt"))
            self._create(f"torn-{number}.txt", torn.decode(errors="replace") + "\n")
            os.truncate(file, len(text) - len(torn))
        elif not whole and text:  # a bare line end is no run
            os.truncate(file, 0)


def read(directory: Path) -> Loaded:
    """What there is of a run that may not have ended. BadInput names the file and line that is damaged."""
    file = directory / EXPERIMENT
    description = _object(_text(file), f"'{file}'")
    version = description.get("format", 1)
    if type(version) is not int or version < 1:
        raise BadInput(
            f"'{file}' is damaged: its 'format' is {version!r}: a number from 1 to {FORMAT} is known"
        )
    if version > FORMAT:
        raise BadInput(
            f"'{file}' is of format {version}, newer than {FORMAT}, the last that is known: update"
        )
    samples, torn = _samples(directory / SAMPLES)
    return Loaded(description, samples, _sessions(directory), torn)


def load(directory: Path) -> Loaded:
    """As `read`, where something was measured; raises as that, and where a needed file is missing."""
    found = read(directory)
    if not found.samples:
        raise BadInput(f"'{directory / SAMPLES}' is empty: nothing was measured")
    if not found.sessions:
        _text(directory / _fingerprint_file("before", 1))
    return found


def _full(file: Path, error: OSError) -> NoReturn:
    why = error.strerror or str(error)
    raise OversprayError(
        f"can't write '{file}': {why}: what was saved before is whole; mend that and type the same again"
    ) from None


def _fingerprint_file(when: str, session: int | str = 1) -> str:
    """Of the first session without its number; ``*``: the pattern of all."""
    return f"fingerprint-{when}{session if session == '*' else '' if session == 1 else f'-{session}'}.json"


def _sessions(directory: Path) -> tuple[Session, ...]:
    found: dict[int, Path] = {}
    for file in directory.glob(_fingerprint_file("before", "*")):
        if number := re.fullmatch(r"fingerprint-before(?:-(\d+))?", file.stem):
            found[int(number[1] or 1)] = file
    if found and 1 not in found:
        _text(directory / _fingerprint_file("before", 1))
    return tuple(_session(directory, number, found[number]) for number in sorted(found))


def _session(directory: Path, number: int, before: Path) -> Session:
    after = directory / _fingerprint_file("after", number)
    return Session(_host(before), _host(after) if after.exists() else None)


def _host(file: Path) -> dict[str, Any]:
    found = _object(_text(file), f"'{file}'")
    if not isinstance(found.get("kernel"), str) or not isinstance(found.get("sysctls", {}), dict):
        raise BadInput(f"'{file}' is damaged: no fingerprint of a host")
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        raise BadInput(f"'{file}' is missing: no results, or of a run that did not begin") from None
    except UnicodeDecodeError:
        raise BadInput(f"'{file}' is damaged: not text") from None
    except OSError as error:
        raise BadInput(f"can't read '{file}': {error.strerror}") from None


def _object(text: str, where: str) -> dict[str, Any]:
    def refuse(name: str) -> NoReturn:
        raise ValueError(name)

    try:
        found = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise BadInput(f"{where} is damaged: not JSON") from None
    if not isinstance(found, dict):
        raise BadInput(f"{where} is damaged: not a JSON object")
    return found


def _samples(file: Path) -> tuple[list[Sample], str]:
    """All runs, and the torn end of the last line."""
    found: dict[tuple[object, ...], Sample] = {}
    *lines, torn = _text(file).split("\n")
    for number, line in enumerate(lines, start=1):
        where = f"'{file}', line {number},"
        sample = _object(line, where)
        for key, form in _KNOWN.items():
            if (key in _NEEDED or key in sample) and not _fits(sample.get(key), form):
                raise BadInput(f"{where} is damaged: its '{key}' is {_short(sample.get(key, 'missing'))}")
        for key in _MEASURED:
            if sample.get(key) is not None and not _fits(sample[key], _NUMBERS):
                raise BadInput(f"{where} is damaged: its '{key}' is {_short(sample[key])}")
        if not all(core.isdecimal() for core in sample["cores"]):
            raise BadInput(f"{where} is damaged: its 'cores' are {_short([*sample['cores']])}")
        if found.setdefault(run_of(sample), sample) is not sample:
            in_round = f"{sample['variant']} in round {sample['round']}"
            raise BadInput(f"{where} is damaged: a second run of {in_round}")
    return list(found.values()), torn


def run_of(sample: Sample) -> tuple[object, ...]:
    """Which run of an experiment a sample is: batch, point, variant, round."""
    point = json.dumps(sample.get("point", {}), sort_keys=True)
    return sample.get("batch", 0), point, sample["variant"], sample["round"]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _fits(value: Any, form: Any) -> bool:
    if isinstance(form, dict):
        return isinstance(value, dict) and all(_fits(each, form[_EACH]) for each in value.values())
    if isinstance(form, list):
        return isinstance(value, list) and all(_fits(each, form[0]) for each in value)
    if form in (_NUMBER, _WHOLE):
        return type(value) in form and math.isfinite(value) and value >= 0
    return isinstance(value, form)
