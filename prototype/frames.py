"""Frames as arrays: from a capture, from scapy, from a generator, and into a capture again."""

import logging
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steering.errors import BadInput
from steering.layout import header

FRAME: np.dtype[np.void] = header("frame.h", "maps.h").struct("frame")
_ETHERNET = 1
_SECOND = 10**9
_TELL_EVERY = 1 << 15
_HEADERS = 92  # outer and inner, of what is generated
_MOST_BYTES = 1 << 31

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Frames:
    """``rows`` (:data:`FRAME`, 1-d): where in ``data`` (1-d) each frame is, when it came (ns)."""

    rows: NDArray[np.void]
    data: Bytes

    @classmethod
    def of(cls, packets: Iterable[Any], times: Sequence[int] | None = None) -> Self:
        """From scapy packets or bytes; without ``times`` (ns) they come 1 us apart."""
        data, lengths = bytearray(), array("Q")
        for packet in packets:
            raw = bytes(packet)
            data += raw
            lengths.append(len(raw))
        if times is None:
            times = range(0, 1000 * len(lengths), 1000)
        return cls(_rows(np.array(times, np.uint64), np.array(lengths)), _array(data))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> bytes:
        row = self.rows[index]
        return self.data[int(row["at"]) : int(row["at"]) + int(row["length"])].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        return (self[index] for index in range(len(self)))

    def pick(self, indices: ArrayLike) -> Self:
        """Some of them, in that order."""
        return type(self)(self.rows[np.asarray(indices, np.int64)], self.data)


def read(path: Path, note: Callable[[int], object] = lambda _: None) -> Frames:
    """The frames of a capture (pcap or pcapng); ``note`` is told how many there are.

    Raises:
        BadInput: it can't be read, is no capture of Ethernet frames, ends in the middle of a
            packet, or holds none.
    """
    times, lengths, data = array("Q"), array("Q"), bytearray()
    with _opened(path) as file, _scapys_complaints() as complaints:
        reader = _reader(path, file)
        for raw, about in reader:
            complaints.clear()
            _check(path, raw, about, reader, len(lengths))
            times.append(_time(about, reader))
            lengths.append(len(raw))
            data += raw
            if not len(lengths) % _TELL_EVERY:
                note(len(lengths))
        if complaints or not file.at_end:
            why = complaints[-1] if complaints else "damaged"
            raise BadInput(f"'{path}' ends or breaks after packet {len(lengths)}: {why}")
    if not lengths:
        raise BadInput(f"'{path}' has no packets")
    return Frames(_rows(np.array(times), np.array(lengths)), _array(data))


def write(path: Path, frames: Frames, note: Callable[[int], object] = lambda _: None) -> None:
    """A capture (pcap, nanoseconds) of these frames; ``note`` is told how many are written.

    Raises:
        BadInput: no such file can be written.
    """
    from scapy.utils import RawPcapWriter

    times = frames.rows["time"].tolist()
    try:
        with path.open("wb") as file:
            writer = RawPcapWriter(file, linktype=_ETHERNET, nano=True)
            writer.write_header(None)
            for count, (raw, time) in enumerate(zip(frames, times, strict=True)):
                writer.write_packet(raw, sec=time // _SECOND, usec=time % _SECOND)
                if not count % _TELL_EVERY:
                    note(count)
    except OSError as error:
        raise BadInput(f"write '{path}': {error.strerror}") from None


def generate(packets: int, flows: int = 1, payload: int = 18, gap: int = 1000) -> Frames:
    """UDP datagrams in VXLAN over IPv4 as stock Linux sends them, ``gap`` ns apart, flows in turn.

    ``payload`` bytes each (4 to 1422), the first four of them the datagram's number in its flow.

    Raises:
        BadInput: out of range.
    """
    if not 1 <= flows <= min(packets, 40_000) or not 4 <= payload <= 1422:
        raise BadInput(
            f"{packets} packets of {flows} flows with {payload} bytes: at least one packet for "
            "each of 1 to 40000 flows, 4 to 1422 bytes"
        )
    if packets * (_HEADERS + payload) > _MOST_BYTES:
        raise BadInput(f"{packets} packets of {payload} bytes are more than 2 GiB: take fewer")
    templates = np.array([list(_datagram(flow, payload)) for flow in range(flows)], np.uint8)
    which = np.arange(packets) % flows
    data = templates[which]
    number = (np.arange(packets) // flows).astype(">u4")
    at = templates.shape[1] - payload
    data[:, at : at + 4] = number.view(np.uint8).reshape(-1, 4)
    # The template's checksum is right for the number 0: RFC 1624, equation 3.
    before = data[:, at - 2 : at].copy().view(">u2")[:, 0].astype(np.uint32)
    total = (~before & 0xFFFF) + (number >> 16).astype(np.uint32) + (number & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    check = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    check[check == 0] = 0xFFFF
    data[:, at - 2 : at] = check.astype(">u2").view(np.uint8).reshape(-1, 2)
    times = np.arange(packets, dtype=np.uint64) * np.uint64(gap)
    return Frames(_rows(times, np.full(packets, templates.shape[1])), data.reshape(-1))


def _datagram(flow: int, payload: int) -> bytes:
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    from scapy.layers.vxlan import VXLAN

    outer = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
    outer /= IP(src="192.0.2.2", dst="192.0.2.1") / UDP(sport=49152, dport=4789, chksum=0)
    inner = Ether(dst="02:00:00:00:01:01", src="02:00:00:00:02:01")
    inner /= IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=20_000 + flow, dport=7000)
    return bytes(outer / VXLAN(flags="Instance", vni=42) / inner / bytes(payload))


class _Stream:
    """A file that remembers whether the last that was asked of it was not there any more."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.at_end = False

    def read(self, size: int) -> bytes:
        found = self._file.read(size)
        self.at_end = size > 0 and not found
        return found

    def seek(self, place: int) -> int:
        return self._file.seek(place)

    def close(self) -> None:
        self._file.close()


@contextmanager
def _opened(path: Path) -> Iterator[_Stream]:
    try:
        with path.open("rb") as file:
            yield _Stream(file)
    except OSError as error:
        raise BadInput(f"read '{path}': {error.strerror or error}") from None


@contextmanager
def _scapys_complaints() -> Iterator[list[str]]:
    """What scapy logs meanwhile: its readers end at whatever they do not understand."""
    found: list[str] = []
    logger, handler = logging.getLogger("scapy.runtime"), logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _reader(path: Path, file: _Stream) -> Any:
    from scapy.error import Scapy_Exception
    from scapy.utils import RawPcapReader

    try:
        reader = RawPcapReader(file)
    except Scapy_Exception:
        raise BadInput(f"'{path}' is no pcap or pcapng file, or its header is cut") from None
    if reader.f is not file:
        raise BadInput(f"'{path}' is compressed: type 'gunzip' first")
    return reader


def _check(path: Path, raw: bytes, about: Any, reader: Any, before: int) -> None:
    link = about.linktype if hasattr(about, "linktype") else reader.linktype  # 0 is one, too
    if link != _ETHERNET:
        raise BadInput(f"'{path}' has link type {link}: frames of Ethernet (1) are wanted")
    captured = getattr(about, "caplen", len(raw))
    if captured != len(raw):
        raise BadInput(
            f"'{path}': packet {before + 1} should have {captured} bytes and has {len(raw)}"
        )


def _time(about: Any, reader: Any) -> int:
    """ns since the epoch; 0 for a pcapng packet without a time."""
    if hasattr(about, "sec"):
        return int(about.sec * _SECOND + about.usec * (1 if reader.nano else 1000))
    if about.tshigh is None:
        return 0
    return int(((about.tshigh << 32) + about.tslow) * _SECOND // about.tsresol)


def _rows(times: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.void]:
    rows = np.zeros(len(lengths), FRAME)
    rows["time"], rows["length"] = times, lengths
    rows["at"][1:] = np.cumsum(lengths)[:-1]
    return rows


def _array(data: bytearray) -> Bytes:
    return np.frombuffer(data, np.uint8)
