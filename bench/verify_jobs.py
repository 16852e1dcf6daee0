"""A comparison in parts, some of them at once, each job with labs of its own name.

A part is what is kept when a long comparison is broken off: some ten thousand frames of one setup
under one seed.
"""

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType

from bench import lab as labs
from bench.verify import Setup, Twins, lab_names
from bench.verify_capture import captured_frames, digest, fits, put_inside, readdressed
from bench.verify_run import Progress, Report, compare, made
from steering.errors import BadInput, OversprayError
from steering.unit import Programs

MOST = 100_000
"""Frames of a part: about half a minute."""

Told = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Part:
    """What is compared in one go: so many frames of a seed, or those of a capture."""

    setup: Setup
    frames: int
    seed: int
    pcap: Path | None = None
    inside: bool = False
    """The capture's frames are put into the tunnel."""
    digest: str = ""
    """Of the capture's frames."""


def parts(setups: Sequence[Setup], frames: int, seed: int) -> list[Part]:
    """The frames shared out among the setups, in parts of seeds that follow each other.

    Seed by seed, so that what is broken off has seen every setup.
    """
    each = -(-frames // len(setups))
    sizes = [min(MOST, each - at) for at in range(0, each, MOST)]
    return [Part(one, size, seed + at) for at, size in enumerate(sizes) for one in setups]


def captured(
    setups: Sequence[Setup], pcap: Path, inside: bool, note: Callable[[str], object]
) -> list[Part]:
    """The frames of a capture or a folder of them, in each setup; ``note`` is told what is left
    out. BadInput: there is none."""
    frames = captured_frames(pcap, note)
    read = digest(frames)
    return [Part(setup, len(frames), 0, pcap, inside, read) for setup in setups]


def carried_out(
    todo: Sequence[Part], name: str, jobs: int = 1, told: Told = lambda what, done, total: None
) -> Iterator[Report]:
    """What came of each part, as they are done. Broken off, it takes all labs down.

    Raises:
        BadInput: a setup or the capture is none.
        OversprayError: a lab is not in its state, or a job was killed.
    """
    if jobs > 1:
        yield from _at_once(todo, name, jobs)
        return
    with Programs() as programs:
        for part in todo:
            yield _one(part, name, programs, partial(told, str(part.setup)))


def _one(part: Part, name: str, programs: Programs, progress: Progress) -> Report:
    with Twins(part.setup, name, programs) as twins:
        if part.pcap is None:
            source = made(twins.lab, part.seed, part.setup)
            report = compare(twins, source, part.frames, progress)
        else:
            addressed = put_inside if part.inside else readdressed
            frames = addressed(captured_frames(part.pcap), twins.lab)
            taken = [each for each in frames if fits(each, part.setup.mtu)]
            report = compare(twins, iter(taken), len(taken), progress)
            report.left_out = part.frames - len(taken)
        report.seed, report.digest = part.seed, part.digest
        return report


def _at_once(todo: Sequence[Part], name: str, jobs: int) -> Iterator[Report]:
    waiting = list(todo)
    with ExitStack() as stack:
        busy: dict[Connection, Part] = {}
        for number in range(min(jobs, len(todo))):
            line = stack.enter_context(_Job(f"{name}{number}")).line
            line.send(busy.setdefault(line, waiting.pop(0)))
        while busy:
            ready = wait(list(busy))
            for line in [each for each in busy if each in ready]:
                part = busy.pop(line)
                yield _answer(line, part)
                if waiting:
                    line.send(busy.setdefault(line, waiting.pop(0)))


def _answer(line: Connection, part: Part) -> Report:
    try:
        found = line.recv()
    except EOFError:
        raise OversprayError(
            f"verify: the job of '{part.setup}' was killed: type it again"
        ) from None
    if isinstance(found, OversprayError):
        raise found
    assert isinstance(found, Report)
    return found


class _Job:
    """A process that carries out the parts it is sent. A context manager: at its end it is gone,
    and so are its labs, in whose taking down it may have been ended."""

    def __init__(self, name: str) -> None:
        self._name = name
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, name))
        self._process.start()
        theirs.close()

    def __enter__(self) -> "_Job":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()
        self.line.close()
        for name in lab_names(self._name):
            labs.down(name)


def _work(line: Connection, name: str) -> None:
    """A job's whole life; it ends by SIGTERM alone, which takes its labs down."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is for who started it
    signal.signal(signal.SIGTERM, _ended)
    with Programs() as programs:
        while True:
            part: Part = line.recv()
            try:
                found: Report | OversprayError = _one(part, name, programs, lambda done, all: None)
            except BadInput as error:
                found = BadInput(str(error))
            except OversprayError as error:  # of another class: its fields need not be known
                found = OversprayError(str(error))
            line.send(found)


def _ended(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
