"""Which load to offer: full rate, the load at which most arrives, or the most without loss."""

import math
from collections.abc import Callable

from bench.sample import Sample

Measure = Callable[[int | None], Sample]
"""A run at a rate in packets a second; None: as fast as the wire goes."""

_LOSSLESS = 0.001
"""A full-rate run that loses less is at its best: the wire is held back by the receiver itself."""
TRIALS = 8
"""Runs at the most that look for the best load."""
_KEEPS_UP = 0.99
_NEAR = 1.03
"""An interval of rates as narrow as this (a factor) is not halved again."""
_FINE = 1.015
"""An interval that the highest load without loss is known to (a factor)."""
_MOST_TRIALS = 20


def best_rate(measure: Measure, trials: int = TRIALS) -> int | None:
    """The offered rate at which most is delivered; None: full rate.

    A receiver that is overloaded can deliver far less than it could (RPS on the NIC: a seventh of
    what is offered). What arrives follows the load up to a knee between what full load delivers and
    what it offers; that interval is halved, on a logarithmic scale.
    """
    full = measure(None)
    if full.loss < _LOSSLESS or not full.delivered:
        return None
    best, rate = full.rate_pps, None
    low, high = full.rate_pps, full.offered / full.seconds
    for _ in range(trials - 1):
        if high / low < _NEAR:
            break
        offered = max(1, round(math.sqrt(low * high)))
        delivered = measure(offered).rate_pps
        if delivered > best:
            best, rate = delivered, offered
        if delivered >= _KEEPS_UP * offered:
            low = offered
        else:
            high = offered
    return rate


def search(measure: Measure, loss: float) -> Sample:
    """The run with the highest offered rate whose loss is at most ``loss`` (a share).

    Halving between what passes and what does not, to within 1.5 % (RFC 2544, section 26.1; each
    rate is tried once, so a rare loss of another cause lowers the figure). The run at the lowest
    rate that was tried is returned when none passed.
    """
    full = measure(None)
    if full.loss <= loss:
        return full
    high, tried = full.offered / full.seconds, full.rate_pps * 0.98
    low, passed, last = 0.0, None, full
    for _ in range(_MOST_TRIALS):
        last = measure(max(1, round(tried)))
        if last.loss <= loss:
            passed, low = last, tried
        else:
            high = tried
        if high < 1 or (low and high / low < _FINE):
            break
        # On a logarithmic scale: the rate may be a small part of what full load offers.
        tried = math.sqrt(low * high) if low else high / 2
    return passed or last
