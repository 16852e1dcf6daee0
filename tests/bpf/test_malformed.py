"""Damaged, cut and made-up frames: stripped when an independent oracle says so, else untouched.

Whatever comes in, it is counted once, and nothing is dropped or aborted.
"""

import struct
from collections.abc import Callable, Iterator

import pytest
from frames import IN4, IN6, SEGMENT, TO_BOX4, TO_BOX6, inner_of
from hypothesis import given, settings
from hypothesis import strategies as st
from nic import PASS, REDIRECT, WITNESS, Nic
from oracle import out_of
from rows import PASSED, STRIPPED
from scapy.utils import checksum

pytestmark = pytest.mark.root

GOOD = [bytes(frame) for _, frame in STRIPPED]
SMALL = [frame for frame in GOOD if len(frame) < 300]
FRAMES = [*GOOD, *(bytes(frame) for rows in PASSED.values() for _, frame in rows)]


@pytest.fixture(scope="module")
def nic(compiled: Callable[[str], Nic]) -> Iterator[Nic]:
    nic = compiled(WITNESS)
    nic.reset()
    nic.set_knobs(slot=0)
    yield nic
    totals = nic.unit.totals().steer
    assert totals["seen"] == sum(totals.values()) - totals["seen"]


def check(nic: Nic, frame: bytes) -> str:
    """The stage does with a frame what the oracle says; returns the counter."""
    run, wanted = nic.run(frame), out_of(frame)
    [counter] = run.counted.keys() - {"seen"}
    assert set(run.counted.values()) == {1}
    assert run.verdict in (PASS, REDIRECT)
    assert (counter == "local") == (wanted is not None), frame.hex()
    assert run.frame == (frame if wanted is None else wanted), frame.hex()
    return counter


def mended(frame: bytes) -> bytes:
    """The frame with outer lengths and IP checksum that agree with it, as far as there is room."""
    raw = bytearray(frame)
    at = 34 if raw[12:14] == b"\x08\x00" else 54
    if len(raw) < at + 8:
        return frame
    if at == 34:
        struct.pack_into("!H", raw, 16, len(raw) - 14)
        raw[24:26] = b"\0\0"
        struct.pack_into("!H", raw, 24, checksum(bytes(raw[14:34])))
    else:
        struct.pack_into("!H", raw, 18, len(raw) - 54)
    struct.pack_into("!H", raw, at + 4, len(raw) - at)
    return bytes(raw)


def test_the_oracle_knows_the_rows() -> None:
    assert [out_of(bytes(frame)) for _, frame in STRIPPED] == [inner_of(row) for _, row in STRIPPED]
    assert not [
        what for rows in PASSED.values() for what, row in rows if out_of(bytes(row)) is not None
    ]


def test_every_bit_of_every_header(nic: Nic) -> None:
    for frame in SMALL:
        for bit in range(8 * (len(frame) - 4)):
            raw = bytearray(frame)
            raw[bit // 8] ^= 0x80 >> bit % 8
            check(nic, bytes(raw))


def test_many_values_of_every_header_byte(nic: Nic) -> None:
    for frame in (bytes(TO_BOX4 / IN6 / SEGMENT), bytes(TO_BOX6 / IN4 / SEGMENT)):
        for place in range(len(frame) - len(SEGMENT)):
            for value in range(0, 256, 5):
                check(nic, frame[:place] + bytes([value]) + frame[place + 1 :])


@pytest.mark.parametrize("frame", SMALL)
def test_cut_at_every_byte(nic: Nic, frame: bytes) -> None:
    for length in range(14, len(frame)):  # the kernel takes no shorter frame than a MAC header
        assert check(nic, frame[:length]) == "pass_length"
        check(nic, mended(frame[:length]))


def test_cut_but_for_a_whole_inner_header_is_stripped(nic: Nic) -> None:
    frame = bytes(TO_BOX4 / IN4 / SEGMENT)
    kinds = [check(nic, mended(frame[:length])) for length in range(50, len(frame))]
    headers = 14 + 20 + 20
    assert kinds == ["pass_length"] * headers + ["local"] * (len(kinds) - headers)


offsets = st.integers(0, 150)
damages = st.lists(st.tuples(offsets, st.integers(0, 255)), max_size=6)


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(FRAMES), damages, st.integers(14, 200), st.booleans())
def test_damage(
    nic: Nic, frame: bytes, damage: list[tuple[int, int]], length: int, mend: bool
) -> None:
    raw = bytearray(frame)
    for place, value in damage:
        raw[place % len(raw)] = value
    cut = bytes(raw[:length]) if mend else bytes(raw)
    check(nic, mended(cut) if mend else cut)


@settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from(FRAMES),
    st.integers(0, 132),
    st.sampled_from(FRAMES),
    st.integers(0, 132),
    st.booleans(),
)
def test_the_head_of_one_and_the_tail_of_another(
    nic: Nic, head: bytes, head_length: int, tail: bytes, tail_from: int, mend: bool
) -> None:
    frame = (head[:head_length] + tail[tail_from:]).ljust(14, b"\0")
    check(nic, mended(frame) if mend else frame)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from([0, 14, 34, 42, 50, 64, 84]), st.binary(min_size=14, max_size=300))
def test_random_bytes(nic: Nic, kept: int, rest: bytes) -> None:
    check(nic, mended(GOOD[0][:kept] + rest))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 255), st.integers(0, 255), st.sampled_from(SMALL))
def test_any_two_type_of_service_bytes(nic: Nic, outer: int, inner: int, frame: bytes) -> None:
    raw = bytearray(frame)
    at = 64 if raw[12:14] == b"\x08\x00" else 84
    raw[15], raw[at + 1] = outer, inner
    check(nic, mended(bytes(raw)))
