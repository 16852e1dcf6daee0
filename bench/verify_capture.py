"""Frames of a user's captures, addressed to a lab: what they are otherwise is kept."""

import hashlib
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.lab_plan import Endpoint, Lab
from bench.verify import tunnelled
from bench.verify_bytes import address_bytes, mac_bytes, ones_sum, packet_field
from prototype.frames import read
from steering.errors import BadInput

SUFFIXES = (".pcap", ".pcapng", ".cap")
"""Of the files in a folder that are taken for captures."""
_VERSION = {b"\x08\x00": 4, b"\x86\xdd": 6}
_HEADER = {4: 20, 6: 40}
_ETHERNET = 14
_LONGEST = 1 << 15
_SUMS = {6: 16, 17: 6, 58: 2}
"""Where TCP, UDP and ICMPv6 have the checksum that their addresses are in."""


def captured_frames(path: Path, note: Callable[[str], object] = lambda _: None) -> list[bytes]:
    """The frames of a capture; of a folder, those of all captures below it that can be read, and
    ``note`` is told how many can't, and why the first one can't.

    Raises:
        BadInput: it is no capture, or the folder has none.
    """
    if not path.is_dir():
        return list(read(path))
    files = sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES and each.is_file())
    frames, refused = [], []
    for file in files:
        try:
            frames += list(read(file))
        except BadInput as error:
            refused.append(str(error))
    if not frames:
        raise BadInput(f"'{path}' has no capture that can be read, of {len(files)}")
    if refused:
        note(f"{len(refused)} of {len(files)} captures left out, the first: {refused[0]}")
    return frames


def digest(frames: Sequence[bytes]) -> str:
    """Tells these frames from others: of a capture that has changed nothing is known."""
    told = hashlib.sha256()
    for frame in frames:
        told.update(struct.pack("!I", len(frame)) + frame)
    return told.hexdigest()[:16]


def fits(frame: bytes, mtu: int) -> bool:
    """Whether a wire of that MTU takes it."""
    return _ETHERNET <= len(frame) <= mtu + _ETHERNET


def put_inside(frames: Sequence[bytes], lab: Lab) -> list[bytes]:
    """Each frame in the lab's tunnel, from the talker behind it to the first container: with their
    MACs where it was for one host, and their addresses where its IP version is the containers'.
    Checksums that held hold again, others stay wrong; not behind IPv6 extension headers."""
    # What is longer than any wire's frame has no place in a packet's length.
    return [tunnelled(lab, _for_container(each, lab)) for each in frames if len(each) < _LONGEST]


def _for_container(frame: bytes, lab: Lab) -> bytes:
    raw, end = bytearray(frame), lab.endpoints[0]
    if len(raw) < 14:
        return frame
    if not raw[0] & 1:
        raw[:6] = mac_bytes(end.mac)
    raw[6:12] = mac_bytes(end.peer_mac)
    version = _VERSION.get(bytes(raw[12:14]))
    if version == lab.spec.inner and len(raw) >= 14 + _HEADER[version]:
        _between(raw, version, end)
    return bytes(raw)


def _between(raw: bytearray, version: int, end: Endpoint) -> None:
    """The addresses of a packet, and the checksums that have them in."""
    size = 4 if version == 4 else 16
    at = 26 if version == 4 else 22
    old = bytes(raw[at : at + 2 * size])
    target = old[size:] if raw[0] & 1 else address_bytes(end.ip)
    raw[at : at + 2 * size] = new = address_bytes(end.peer_ip) + target
    if version == 4:
        _resum(raw, 24, old, new)
        if packet_field(raw, 20) & 0x1FFF:  # a later fragment: it has no such header
            return
    layer4 = 14 + 4 * (raw[14] & 15) if version == 4 else 54
    protocol = raw[23] if version == 4 else raw[20]
    if protocol in _SUMS and (version, protocol) != (4, 58):
        _resum(raw, layer4 + _SUMS[protocol], old, new, zero_is_none=protocol == 17)


def _resum(raw: bytearray, at: int, old: bytes, new: bytes, zero_is_none: bool = False) -> None:
    """A checksum after a change, as right or wrong as before (RFC 1624, equation 3)."""
    if len(raw) < at + 2:
        return
    before = packet_field(raw, at)
    if zero_is_none and not before:
        return
    value = ~ones_sum(new, (~before & 0xFFFF) + (~ones_sum(old) & 0xFFFF)) & 0xFFFF
    raw[at : at + 2] = struct.pack("!H", value or (0xFFFF if zero_is_none else 0))


def readdressed(frames: Sequence[bytes], lab: Lab) -> list[bytes]:
    """Each frame with the lab's outer MACs; the tunnel's addresses, port and VNI where the outer IP
    version is the lab's and it is VXLAN without options; the first container's MACs where the inner
    frame was for one host. Checksums that held hold again, others stay wrong."""
    return [_readdressed(frame, lab) for frame in frames]


def _readdressed(frame: bytes, lab: Lab) -> bytes:
    if len(frame) < 14:
        return frame
    raw = bytearray(frame)
    raw[:12] = mac_bytes(lab.nic_mac) + mac_bytes(lab.wire_mac)
    version = _VERSION.get(bytes(raw[12:14]))
    if version != lab.spec.outer:
        return bytes(raw)
    udp = 14 + _HEADER[version]
    protocol = raw[23] if version == 4 else raw[20] if len(raw) > 20 else 0
    plain = raw[14] == 0x45 if version == 4 else True
    if len(raw) < udp + 30 or protocol != 17 or not plain or packet_field(frame, udp + 2) != 4789:
        return bytes(raw)
    _into_the_tunnel(raw, lab, version, udp)
    return bytes(raw)


def _into_the_tunnel(raw: bytearray, lab: Lab, version: int, udp: int) -> None:
    first = 26 if version == 4 else 22
    summed = packet_field(bytes(raw), udp + 6) != 0 and _udp_sum(raw, first, udp) == 0xFFFF
    whole = version == 4 and ones_sum(bytes(raw[14:34])) == 0xFFFF
    raw[first:udp] = address_bytes(lab.remote_vtep_ip) + address_bytes(lab.vtep_ip)
    raw[udp + 2 : udp + 4] = struct.pack("!H", lab.port)
    raw[udp + 12 : udp + 15] = lab.spec.vni.to_bytes(3, "big")
    end = lab.endpoints[0]
    if not raw[udp + 16] & 1:
        raw[udp + 16 : udp + 22] = mac_bytes(end.mac)
    raw[udp + 22 : udp + 28] = mac_bytes(end.peer_mac)
    if whole:
        raw[24:26] = bytes(2)
        raw[24:26] = struct.pack("!H", ~ones_sum(bytes(raw[14:34])) & 0xFFFF)
    if summed:
        raw[udp + 6 : udp + 8] = bytes(2)
        value = ~_udp_sum(raw, first, udp) & 0xFFFF or 0xFFFF
        raw[udp + 6 : udp + 8] = struct.pack("!H", value)


def _udp_sum(raw: bytearray, first: int, udp: int) -> int:
    return ones_sum(bytes(raw[first:]), 17 + len(raw) - udp)
