"""From a batch that differs to the one frame, or the few in order, that make the difference."""

from collections.abc import Callable, Sequence

from bench.verify_bytes import number_of

Differs = Callable[[Sequence[bytes]], bool]


def minimise(frames: Sequence[bytes], suspects: set[int], differs: Differs) -> list[bytes]:
    """The fewest frames found that still make a difference by themselves; all if none fewer do,
    none if the control frames alone do.

    ``suspects`` are numbers of frames of which something was missing or too much: each is tried
    alone first. Else the batch is cut into ever smaller parts (delta debugging).
    """
    if differs([]):
        return []
    for frame in frames:
        if number_of(frame) in suspects and differs([frame]):
            return [frame]
    return _reduced(list(frames), differs)


def _reduced(frames: list[bytes], differs: Differs) -> list[bytes]:
    parts = 2
    while len(frames) > 1:
        size = -(-len(frames) // parts)
        chunks = [frames[at : at + size] for at in range(0, len(frames), size)]
        smaller = _first(chunks, differs)
        if smaller is not None:
            frames, parts = smaller, 2
            continue
        without = [
            [frame for other in chunks if other is not chunk for frame in other] for chunk in chunks
        ]
        smaller = _first(without, differs) if len(chunks) > 2 else None
        if smaller is not None:
            frames, parts = smaller, max(parts - 1, 2)
        elif size == 1:
            break
        else:
            parts = min(2 * parts, len(frames))
    return frames


def _first(candidates: Sequence[list[bytes]], differs: Differs) -> list[bytes] | None:
    return next((each for each in candidates if differs(each)), None)
