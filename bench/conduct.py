"""A described experiment, run: batch by batch, point by point, and continued where it was broken off."""

import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.axes import Point, bed_of, filled, search_of, traffic_of
from bench.bed import Bed
from bench.best_file import key, resolved
from bench.experiment import Experiment
from bench.fingerprint import fingerprint, unlike
from bench.progress import Note, noted
from bench.results import EXPERIMENT, Loaded, Results, read
from bench.rounds import Timing, runs
from bench.run import Sample, run
from bench.search import Search
from bench.variant import Variant
from steering.errors import BadInput, OversprayError

_SEARCH_S = 0.9
"""Of one search, roughly."""
Say = Callable[[str], None]
Done = frozenset[tuple[int, int]]
"""Runs of a stretch that are kept: pairs of round and place among the variants."""


@dataclass(frozen=True)
class Stretch:
    """All rounds of one batch at one point: what a bed is made for. Each has a seed of its own."""

    batch: int
    number: int
    point: Point
    seed: int


def stretches(experiment: Experiment) -> Iterator[Stretch]:
    """In the order in which they are run."""
    points = experiment.points
    for batch in range(experiment.batches):
        for number, point in enumerate(points):
            yield Stretch(batch, number, point, experiment.seed + batch * len(points) + number)


def runs_of(experiment: Experiment, left: Sequence[tuple[Stretch, Done]]) -> int:
    """How many runs these stretches are, what is done left out."""
    return sum(experiment.rounds * len(experiment.variants) - len(done) for _, done in left)


def needed(experiment: Experiment, left: Sequence[tuple[Stretch, Done]]) -> float:
    """Seconds that these stretches will take, roughly: what is done left out, pauses included."""
    variants, rounds = len(experiment.variants), experiment.rounds
    timing = Timing(rounds, experiment.seconds)
    whole = rounds * variants
    share = sum(1 - len(done) / whole for _, done in left)
    searches = sum(whole - len(done) for stretch, done in left if search_of(stretch.point))
    pauses = max(0, len({stretch.batch for stretch, _ in left}) - 1)
    return share * timing.needs(variants) + searches * _SEARCH_S + pauses * experiment.pause


def conduct(experiment: Experiment, directory: Path, command: str, say: Say) -> None:
    """Measure what is missing in the directory, which may not be there yet; every run is kept at once.

    ``command`` is what to type for the same again. Raises as `Bed`, and BadInput where the directory holds
    something else, is of another host, or finished.
    """
    variants_at = stand_ins(experiment, say)
    results: Results | None = None
    last: int | None = None
    with noted() as note, ExitStack() as session:
        if (directory / EXPERIMENT).exists():
            session.enter_context(_claimed(directory))
        for stretch, done in missing(experiment, directory):
            if last not in (None, stretch.batch):
                _pause(experiment.pause, note)
            last = stretch.batch
            note("making the labs")
            variants = variants_at[stretch.number]
            with Bed(variants, traffic_of(stretch.point), **bed_of(stretch.point)) as bed:
                if results is None:  # now: what can't be made leaves no directory that is in the way
                    results = session.enter_context(_session(experiment, directory, command))
                timing = Timing(experiment.rounds, experiment.seconds, stretch.seed)
                tell = _Rounds(experiment, stretch, done, say)
                searched = search_of(stretch.point)
                measure = partial(Search(*searched, note) if searched else run, bed)
                for place, sample in runs(measure, variants, timing, note, done):
                    about = {"batch": stretch.batch, "point": stretch.point, "session": results.session}
                    named = {"variant": experiment.variants[place], "stands_for": sample.variant}
                    results.add({**sample.as_dict(), **about, **(named if variants[place].origin else {})})
                    tell.ended(place, sample)


def stand_ins(experiment: Experiment, say: Say) -> list[list[Variant]]:
    """The variants at each point: what ``stock-best`` stands for is a matter of what is sent. Raises as
    `bench.best_file.resolved`.
    """
    asked = [Variant.parse(text) for text in experiment.variants]
    found = []
    for point in experiment.points:
        bed = bed_of(point)
        sent = key(traffic_of(point), bed["ip"], bed["outer_ip"], bed["sink"])
        found.append(resolved(asked, sent, bed["nic_core"], say))
    return found


def missing(experiment: Experiment, directory: Path) -> list[tuple[Stretch, Done]]:
    """What is still to be run, with what is done of it: all of it where the directory has no experiment.

    BadInput where it has another one, or one of another host, or one that is finished.
    """
    if not (directory / EXPERIMENT).exists():
        return [(stretch, frozenset()) for stretch in stretches(experiment)]
    kept = read(directory)
    saved = Experiment.of_saved(kept.description, str(directory / EXPERIMENT)).as_dict()
    wanted = experiment.as_dict()
    if other := [name for name in wanted if wanted[name] != saved[name]]:
        raise BadInput(
            f"'{directory}' holds another experiment ({', '.join(other)} differ): name a new directory"
        )
    here = fingerprint()
    for session in kept.sessions:
        if differences := unlike(session.before, here):
            raise BadInput(
                f"'{directory}' was measured on another host ({'; '.join(differences)}): name a new directory"
            )
    found = [(stretch, _done(kept, experiment, stretch)) for stretch in stretches(experiment)]
    whole = experiment.rounds * len(experiment.variants)
    if left := [(stretch, done) for stretch, done in found if len(done) < whole]:
        return left
    raise BadInput(f"'{directory}' is finished: type 'overspray report {directory}', or name a new directory")


def _done(kept: Loaded, experiment: Experiment, stretch: Stretch) -> Done:
    places = {name: place for place, name in enumerate(experiment.variants)}
    return frozenset(
        (sample["round"], places[sample["variant"]])
        for sample in kept.samples
        if sample.get("batch", 0) == stretch.batch
        and filled(sample.get("point", {})) == stretch.point
        and sample["variant"] in places
        and sample["round"] < experiment.rounds
    )


@contextmanager
def _session(experiment: Experiment, directory: Path, command: str) -> Iterator[Results]:
    """The host's fingerprint is kept before and after, however it ends."""
    with ExitStack() as held:
        if (directory / EXPERIMENT).exists():
            results = Results.resumed(directory)
        else:
            results = Results(directory)
            results.describe({**experiment.as_dict(), "command": command})
            held.enter_context(_claimed(directory))
        results.fingerprint("before")
        try:
            yield results
        except BaseException:
            with suppress(OversprayError):  # why it ended is what is to be told
                results.fingerprint("after")
            raise
        results.fingerprint("after")


@contextmanager
def _claimed(directory: Path) -> Iterator[None]:
    """Nobody else goes on in it meanwhile: in a pause no lab is up that would keep them out."""
    file = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = f"'{directory}' is being measured by another process: wait for its end"
            raise OversprayError(busy) from None
        yield
    finally:
        os.close(file)


def _pause(seconds: float, note: Note) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        note(f"pause before the next batch: {left:.0f} s left")
        time.sleep(min(1.0, left))


class _Rounds:
    """Says each round's rates when it ends."""

    def __init__(self, experiment: Experiment, stretch: Stretch, done: Done, say: Say) -> None:
        self._rounds, self._say = experiment.rounds, say
        batch = f"batch {stretch.batch + 1}/{experiment.batches}" if experiment.batches > 1 else ""
        self._where = "".join(f"{part}: " for part in (batch, experiment.label(stretch.point)) if part)
        self._left = Counter({number: len(experiment.variants) for number in range(experiment.rounds)})
        self._left.subtract(number for number, _ in done)
        self._rates: dict[int, float] = {}

    def ended(self, place: int, sample: Sample) -> None:
        self._rates[place] = sample.rate
        if len(self._rates) == self._left[sample.round]:
            shown = ", ".join(f"{self._rates[place] / 1e6:.2f}" for place in sorted(self._rates))
            self._say(f"{self._where}round {sample.round + 1}/{self._rounds}: {shown} Mpps")
            self._rates = {}
