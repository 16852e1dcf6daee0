"""The best offered load of a variant: the highest whose loss is within a bound (RFC 2544, section 26.1), or
that at which most is delivered.

As MLRsearch does (draft-ietf-bmwg-mlrsearch): an upper bound from a trial as fast as it goes, then a bracket,
halved by short trials, and a longer one at its lower end; a load passes where most of its trials do, for one
disturbance is no limit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bench.bed import Bed
from bench.progress import Note
from bench.run import Sample, measured
from bench.traffic import Traffic
from bench.variant import Variant

WIDTH = 0.02
"""By how much, as a share, the ends of the bracket differ in the end."""
SHORT_S = 0.1
LOWEST = 1000.0
"""Packets a second: what loses at that rate has no limit that a search could find."""
_MOST = 24
"""Loads that are tried at most."""
_OFFERED = 0.99


@dataclass(frozen=True)
class Bracket:
    """The highest load that passed, and the lowest above it that did not; 0: none passed."""

    low: float
    high: float


def bracket(passes: Callable[[float], bool], guess: float, top: float, width: float = WIDTH) -> Bracket:
    """Halve, in logarithms, what is between a load that passes and one that does not, ``top``.

    The first load is ``guess``. Ends when the two differ by no more than ``width``, after _MOST loads, or
    below LOWEST.
    """
    low, high, step, load = 0.0, top, 0.05, min(guess, top)
    for _ in range(_MOST):
        if passes(load):
            low = load
        else:
            high = load
        if low:
            if high <= low * (1 + width):
                break
            load = math.sqrt(low * high)
        else:
            load, step = high * (1 - step), min(0.5, 2 * step)
            if load < LOWEST:
                break
    return Bracket(low, high)


@dataclass
class Search:
    """Measures a variant at its best offered load; made for `bench.rounds.runs`, once for each comparison.

    ``wanted``: ``search``, for the highest load that loses no more than ``loss`` (a share), or ``best``.
    """

    wanted: str
    loss: float
    note: Note
    width: float = WIDTH
    _trials: list[Sample] = field(default_factory=list)

    def __call__(self, bed: Bed, variant: Variant, seconds: float, warm_up: float, number: int) -> Sample:
        """The run at the load that was found, with all trials in it; raises as `bench.run.run`."""
        self._trials = []
        with bed.in_effect(variant) as effect:

            def trial(rate: float | None, span: float) -> Sample:
                self.note(f"round {number + 1}: {variant} at {_shown(rate)}")
                sent = at(bed.traffic, rate)
                self._trials.append(measured(bed, variant, effect, span, min(warm_up, span), number, sent))
                return self._trials[-1]

            full = trial(None, SHORT_S)
            if number < 0:  # only to warm up
                return full
            if self._is_within(
                full, full.offered_rate
            ):  # no load is too much: the wire waits for the receiver
                return self._told(trial(None, seconds))
            found = self._found(trial, full)
            if self.wanted == "search":
                last = self._last(trial, found, seconds)
            else:
                best = max(self._trials, key=lambda one: one.rate)
                last = trial(None if best is full else best.offered_rate, seconds)
        return self._told(last)

    def _found(self, trial: Callable[[float | None, float], Sample], full: Sample) -> Bracket:
        def passes(load: float) -> bool:
            verdicts: list[bool] = []
            while verdicts.count(True) < (2 if verdicts.count(False) else 1) and verdicts.count(False) < 2:
                verdicts.append(self._is_within(trial(load, SHORT_S), load))
            return verdicts.count(False) < 2

        return bracket(passes, full.rate, max(full.offered_rate, full.rate), self.width)

    def _last(self, trial: Callable[[float | None, float], Sample], found: Bracket, seconds: float) -> Sample:
        """A longer trial at the lower end; lower, where that loses more than short ones did."""
        load = found.low or LOWEST
        for _ in range(_MOST):
            last = trial(load, seconds)
            if self._is_within(last, load) or load <= LOWEST:
                break
            load = max(LOWEST, load / (1 + self.width))
        return last

    def _is_within(self, sample: Sample, load: float) -> bool:
        """What was asked was offered, and not more than the bound of it was lost."""
        return not sample.invalid and sample.offered_rate >= _OFFERED * load and sample.loss <= self.loss

    def _told(self, last: Sample) -> Sample:
        trials = [
            {"offered_rate": one.offered_rate, "rate": one.rate, "loss": one.loss, "seconds": one.seconds}
            for one in self._trials
        ]
        return replace(last, trials=trials)


def at(traffic: Traffic, rate: float | None) -> Traffic:
    """That traffic at another rate; as fast as it goes, nothing paces it."""
    if rate is None:
        return replace(traffic, rate=None, arrivals="constant", moderation=0)
    return replace(traffic, rate=round(rate))


def _shown(rate: float | None) -> str:
    return "full rate" if rate is None else f"{rate / 1e6:.3f} Mpps"
