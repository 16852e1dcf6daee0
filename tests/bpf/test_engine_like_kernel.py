"""The packet engine does with each frame what the kernel does: counter, bytes and slot."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest
from frames import BARE, BOX, DATAGRAM, ETHER, IN4, IN6, OUT4, OUT6, SUMMED, TO_BOX4, VXLAN42, over
from frames import NIC as NIC_MAC
from nic import WITNESS, WORKERS, Nic
from rows import PASSED, STRIPPED
from scapy.layers.inet import UDP

from prototype.engine import Engine
from prototype.engine_tables import Tables
from prototype.frames import Frames
from steering.layout import header
from steering.registry import find
from steering.routes import endpoint_key, tunnel_keys
from steering.spec import Spec

pytestmark = pytest.mark.root

ROWS = [*STRIPPED, *(row for rows in PASSED.values() for row in rows)]
FRAMES = [bytes(frame) for _, frame in ROWS]
_PASSED = header("frame.h", "maps.h").constants["FRAME_PASSED"]
SHORTEST = 14  # the kernel's test run takes no less than a MAC header


def engine_like(nic: Nic, text: str, **knobs: int) -> Engine:
    """The engine with the same policy, tunnels and containers."""
    spec = Spec.parse(text)
    policy = find(spec)
    engine = Engine(policy, {**policy.values({}), **knobs}, WORKERS)
    engine.fill(
        Tables(
            bytes.fromhex(NIC_MAC.replace(":", "")),
            tuple(tunnel_keys(nic.overlay(nic.routes, nic.tunnels))),
            {endpoint_key(end): route for end, route in nic.routes.items()},
        )
    )
    return engine


@pytest.fixture
def engine(witness: Nic) -> Iterator[Engine]:
    with engine_like(witness, WITNESS) as engine:
        yield engine


def marked() -> Iterator[bytes]:
    """Every pair of congestion marks, over both IP versions and inside both."""
    outsides = [
        lambda mark: ETHER / over(OUT4, tos=mark) / BARE / VXLAN42 / BOX,
        lambda mark: ETHER / over(OUT6, tc=mark) / SUMMED / VXLAN42 / BOX,
    ]
    insides = [
        lambda mark: over(IN4, tos=mark) / DATAGRAM,
        lambda mark: over(IN6, tc=mark) / DATAGRAM,
    ]
    for outside, inside, outer, inner in product(outsides, insides, range(4), range(4)):
        yield bytes(outside(outer) / inside(inner))


def cut() -> Iterator[bytes]:
    for frame in FRAMES[:8]:
        for length in range(SHORTEST, len(frame), 3):
            yield frame[:length]


def damaged() -> Iterator[bytes]:
    rng = np.random.default_rng(6)
    for place in rng.integers(0, 110, 1500):
        raw = bytearray(FRAMES[int(rng.integers(len(FRAMES)))])
        raw[int(place) % len(raw)] ^= 1 << int(rng.integers(8))
        yield bytes(raw)


@pytest.mark.parametrize(("what", "frame"), ROWS, ids=lambda row: row if type(row) is str else "")
def test_each_row_is_counted_under_the_same_name(
    witness: Nic, engine: Engine, what: str, frame: bytes
) -> None:
    kernel, passage = witness.run(frame), engine.run(Frames.of([frame]))
    assert {name: count for name, count in passage.counters.items() if count} == kernel.counted
    assert passage.frames[0] == kernel.frame


@pytest.mark.parametrize("kind", [marked, cut, damaged])
def test_the_same_becomes_of_odd_frames(witness: Nic, engine: Engine, kind: object) -> None:
    frames = list(kind())  # type: ignore[operator]
    kernel = [witness.run(frame) for frame in frames]
    passage = engine.run(Frames.of(frames))
    assert list(passage.frames) == [run.frame for run in kernel]
    wanted = sum((Counter(run.counted) for run in kernel), Counter())
    assert +Counter(passage.counters) == wanted
    stripped = [i for i, run in enumerate(kernel) if "local" in run.counted]
    assert passage.out.tolist() == stripped
    assert (passage.frames.rows["fate"] != _PASSED).sum() == len(stripped)


@pytest.mark.parametrize("slot", [1, WORKERS, WORKERS + 1, (1 << 32) - 1])
def test_slots_that_are_and_slots_that_are_not(witness: Nic, slot: int) -> None:
    witness.set_knobs(slot=slot)
    with engine_like(witness, WITNESS, slot=slot) as engine:
        passage = engine.run(Frames.of(FRAMES))
    kernel = [witness.run(frame) for frame in FRAMES]
    assert list(passage.frames) == [run.frame for run in kernel]
    assert +Counter(passage.counters) == sum((Counter(run.counted) for run in kernel), Counter())


def test_a_policy_is_told_the_same(witness: Nic, engine: Engine) -> None:
    witness.forget_flows()
    for _, frame in STRIPPED:
        witness.run(frame)
        engine.run(Frames.of([frame]))
        kernel, _ = witness.witnessed()
        told = engine.core_state(kernel.dtype)
        facts = [name for name in kernel.dtype.names if name != "now"]
        assert [told[name] for name in facts] == [kernel[name] for name in facts]


def test_hash_names_the_same_workers(compiled: Callable[[str], Nic]) -> None:
    kernel = compiled("hash")
    kernel.reset()
    frames = [bytes(TO_BOX4 / IN4 / UDP(sport=port, dport=9) / b"x") for port in range(1000, 1200)]
    with engine_like(kernel, "hash") as engine:
        fates = engine.run(Frames.of(frames)).frames.rows["fate"].tolist()
    assert fates == kernel.slots(frames)
    assert set(fates) == set(range(WORKERS + 1))
