"""A comparison: batches of frames down both paths, each difference followed to its frame."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from bench.lab_plan import Lab
from bench.verify import BATCH, Outcome, Setup, Twins
from bench.verify_bytes import number_of
from bench.verify_frames import JUMBO, LONG, SHORT, templates
from bench.verify_minimise import minimise
from bench.verify_mutate import Generator

_SHOWN, _MOST_BYTES = 4, 160
MOST_FINDINGS = 20
"""Unknown differences after which a comparison ends: it will not get better."""

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Finding:
    """The fewest frames that make an unknown difference, and what that is."""

    setup: str
    frames: tuple[bytes, ...]
    outcome: Outcome

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "setup": self.setup,
            "frames": [frame.hex() for frame in self.frames],
            "missing": _plain(self.outcome.missing),
            "more": _plain(self.outcome.more),
            "accounts": list(self.outcome.accounts),
        }

    def lines(self) -> Iterator[str]:
        """What a person is told."""
        yield f"{len(self.frames) or 'control'} frame(s) make a difference:"
        for frame in self.frames[:_SHOWN]:
            yield f"  in        {_short(frame)}"
        for what, sights in (("missing", self.outcome.missing), ("too many", self.outcome.more)):
            for (place, data), times in list(sights.items())[:_SHOWN]:
                yield f"  {what:9} {times} at {place}: {_short(data)}"
        for account in self.outcome.accounts:
            yield f"  counters  {account}"


@dataclass
class Report:
    """What came of a comparison."""

    setup: str
    seed: int = 0
    frames: int = 0
    sights: int = 0
    fast: int = 0
    seconds: float = 0.0
    known: "Counter[str]" = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    digest: str = ""
    """Of a capture."""
    left_out: int = 0
    """Its frames that the wire does not take."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "setup": self.setup,
            "seed": self.seed,
            "digest": self.digest,
            "left_out": self.left_out,
            "frames": self.frames,
            "on_fast_path": self.fast,
            "seen_by_stock": self.sights,
            "seconds": round(self.seconds, 3),
            "known": dict(self.known),
            "findings": [each.as_dict() for each in self.findings],
        }


def made(lab: Lab, seed: int, setup: Setup) -> Iterator[bytes]:
    """An endless stream of the generator's frames."""
    room = setup.inner_mtu or setup.mtu
    sizes = [SHORT, *([LONG] if room >= LONG + 150 else [])]
    sizes += [JUMBO] if setup.mtu >= JUMBO + 150 else []
    generator = Generator(lab, templates(lab, sizes), seed)
    return (frame.data for frame in generator.frames())


def compare(
    twins: Twins, frames: Iterator[bytes], count: int, progress: Progress = lambda done, all: None
) -> Report:
    """Send ``count`` frames (fewer if there are no more) down both paths.

    Raises:
        OversprayError: a lab is not in its state; nothing is said then.
    """
    report = Report(str(twins.setup))
    began = time.monotonic()
    while report.frames < count and len(report.findings) < MOST_FINDINGS:
        batch = list(islice(frames, min(BATCH, count - report.frames)))
        if not batch:
            break
        report.frames += len(batch)
        outcome = twins.compare(batch)
        report.sights += outcome.sights
        report.fast += outcome.fast
        report.known += outcome.known
        if outcome:
            report.findings += _findings(twins, batch, outcome)
        progress(report.frames, count)
    report.seconds = time.monotonic() - began
    return report


def _findings(twins: Twins, batch: Sequence[bytes], outcome: Outcome) -> Iterator[Finding]:
    """Each difference of a batch: found, taken out, and the rest looked at again."""
    left = list(batch)
    for _ in range(MOST_FINDINGS):
        few = minimise(left, _suspects(outcome), lambda frames: bool(twins.compare(frames)))
        alone = twins.compare(few)
        # What does not come again is told with the whole batch: it is never taken for agreement.
        yield Finding(str(twins.setup), tuple(few), alone or outcome)
        if not few:
            return
        left = [frame for frame in left if frame not in few]
        outcome = twins.compare(left)
        if not outcome:
            return


def _suspects(outcome: Outcome) -> set[int]:
    sights = (*outcome.missing, *outcome.more)
    return {number for _, data in sights if (number := number_of(data)) is not None}


def _short(data: bytes) -> str:
    more = f"… ({len(data)} bytes)" if len(data) > _MOST_BYTES else ""
    return data[:_MOST_BYTES].hex() + more


def _plain(sights: "Counter[tuple[str, bytes]]") -> list[dict[str, Any]]:
    return [
        {"at": place, "data": data.hex(), "times": times} for (place, data), times in sights.items()
    ]
