"""What a long comparison has come to so far, kept in a file; and the table made of it."""

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.verify_jobs import Part
from bench.verify_run import Report
from steering.errors import BadInput

_SUMS = ("frames", "on_fast_path", "seen_by_stock")
_MORE = ("left_out", "seconds")
Plain = dict[str, Any]


class _Part(BaseModel):
    setup: str
    seed: int
    frames: int
    on_fast_path: int
    seen_by_stock: int
    seconds: float
    known: dict[str, int]
    findings: list[Plain]
    digest: str = ""
    left_out: int = 0


class _File(BaseModel):
    command: str
    kernel: str
    parts: list[_Part]


def read(path: Path) -> Plain:
    """What a file has: ``command``, ``kernel`` and ``parts``. BadInput: it is no such file."""
    try:
        return _File.model_validate_json(path.read_bytes()).model_dump()
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise BadInput(f"'{path}' was not kept by verify: {why}: name another file") from None


@dataclass
class Kept:
    """The parts that are done. Without a path nothing is written."""

    path: Path | None
    command: str
    done: list[Plain] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path | None, command: str) -> "Kept":
        """Go on with what the file has.

        Raises:
            BadInput: it is no such file, of another command or of another kernel.
        """
        if path is None or not path.exists():
            return cls(path, command)
        found = read(path)
        if found["command"] != command or found["kernel"] != platform.release():
            raise BadInput(
                f"'{path}' was kept by '{found['command']}' on {found['kernel']}: type that, or "
                f"name another file"
            )
        return cls(path, command, found["parts"])

    def left(self, parts: Sequence[Part]) -> list[Part]:
        """Those that are not done. BadInput: what is done was done with other frames."""
        if {part["digest"] for part in self.done} - {part.digest for part in parts}:
            raise BadInput(
                f"'{self.path}' is of other frames: the capture has changed, name another file"
            )
        done = {(part["setup"], part["seed"], part["digest"]) for part in self.done}
        return [each for each in parts if (str(each.setup), each.seed, each.digest) not in done]

    def add(self, report: Report) -> None:
        """One more part. BadInput: the file can't be written."""
        self.done.append(report.as_dict())
        if self.path is None:
            return
        facts = {"command": self.command, "kernel": platform.release(), "parts": self.done}
        fresh = self.path.with_suffix(".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps(facts, indent=1) + "\n")
            fresh.replace(self.path)
        except OSError as error:
            raise BadInput(f"can't write '{self.path}': {error.strerror}") from None


def summed(parts: Sequence[Mapping[str, Any]]) -> list[Plain]:
    """One for each setup, in the order of the parts."""
    found: dict[str, Plain] = {}
    for part in parts:
        setup = str(part["setup"])
        empty = {"setup": setup, "seeds": [], **dict.fromkeys(_SUMS, 0)}
        empty |= dict.fromkeys(_MORE, 0)
        sums = found.setdefault(setup, {**empty, "known": {}, "findings": []})
        sums["seeds"].append(part["seed"])
        for name in (*_SUMS, *_MORE):
            sums[name] += part[name]
        sums["known"] = dict(Counter(sums["known"]) + Counter(part["known"]))
        sums["findings"] += part["findings"]
    return list(found.values())


def table(parts: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row for each setup, and their sum."""
    rows = summed(parts)
    everything = summed([{**part, "setup": "**all**"} for part in parts])
    lines = [
        "| setup | frames | on the fast path | sights compared | known differences | unknown |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in (*rows, *everything):
        numbers = [row[name] for name in _SUMS]
        numbers += [sum(row["known"].values()), len(row["findings"])]
        lines.append(f"| {row['setup']} | {' | '.join(f'{number:,}' for number in numbers)} |")
    return "\n".join(lines)
