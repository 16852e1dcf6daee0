"""Real frames: which core got them, every one of them, and what is in them."""

import signal
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench.frame import FIRST_PORT, SINK_PORT, build
from bench.lab import Lab
from bench.seen import Seen, dropping
from bench.traffic import Traffic
from bench.wire import Wire
from steering import bpf, cores, netns
from steering.bpf import Kind, Link, Program
from steering.errors import BadInput
from steering.waiting import wait_for

N = 10_007  # no multiple of any batch


@pytest.mark.parametrize("core", cores.usable()[:2])
def test_every_frame_is_counted_on_the_core_that_sent_it(lab: Lab, core: int) -> None:
    with dropping(lab) as nic, Wire(lab, core=core) as wire:
        wire.send_windowed(N, lambda: nic.frames)
        assert wire.counts() == {"sent": N, "idle": 0, "drop_ring": 0, "drop_refused": 0}
        assert {core: int(n) for core, n in enumerate(nic.by_core()) if n} == {core: N}


@pytest.mark.parametrize("traffic", [Traffic(1400), Traffic(18, flows=7), Traffic(64, batch=1)], ids=str)
def test_whatever_the_traffic(lab: Lab, traffic: Traffic) -> None:
    with dropping(lab) as nic, Wire(lab, traffic) as wire:
        wire.send_windowed(1001, lambda: nic.frames)
        assert (wire.sent, nic.frames) == (1001, 1001)


@pytest.mark.parametrize("batch", [1, 128, 256])
def test_at_full_rate_every_frame_is_accounted_for(lab: Lab, batch: int) -> None:
    with dropping(lab) as nic, Wire(lab, Traffic(batch=batch)) as wire:
        wire.send(200_000)
        wait_for(
            lambda: nic.frames + wire.counts()["drop_ring"] == 200_000,
            lambda: f"{wire.counts()} to add up with {nic.frames} seen",
        )
        assert wire.counts()["sent"] == 200_000
        assert wire.counts()["drop_refused"] == 0


def test_it_goes_on_where_it_was(lab: Lab) -> None:
    with dropping(lab) as nic, Wire(lab) as wire:
        for count in (1, 130, 300):
            wire.send_windowed(count, lambda: nic.frames)
        assert (wire.sent, nic.frames) == (431, 431)


def test_with_nobody_to_receive_each_loss_has_a_name(lab: Lab) -> None:
    with Wire(lab) as wire:
        wire.send(1000)
        assert wire.counts() == {"sent": 1000, "idle": 0, "drop_ring": 0, "drop_refused": 1000}


def test_what_the_nics_program_redirects_in_vain_is_not_the_wires_loss(lab: Lab) -> None:
    """It runs in the wire's process: each frame came to it, and was lost behind the wire."""
    nowhere = struct.pack(
        "=BBhiBBhiBBhiBBhi",
        *(0xB7, 1, 0, 9999),  # bpf_redirect(9999, 0): no such device
        *(0xB7, 2, 0, 0),
        *(0x85, 0, 0, 23),
        *(0x95, 0, 0, 0),
    )
    with netns.entered(lab.host_ns), Program(nowhere, Kind.XDP) as program:
        link = Link(program.fd, lab.nic_index, bpf.ATTACH_XDP, bpf.XDP_NATIVE)
    with link, Wire(lab) as wire:
        wire.send(100)
        assert wire.counts() == {"sent": 100, "idle": 0, "drop_ring": 0, "drop_refused": 0}


def test_signals_change_no_count(lab: Lab) -> None:
    """Each ends a call into the kernel early; only the program's own count knows where."""
    seen = Counter[int]()
    before = signal.signal(signal.SIGPROF, lambda number, _: seen.update([number]))
    with dropping(lab) as nic, Wire(lab) as wire:
        signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)  # of this process's own time
        try:
            while seen[signal.SIGPROF] < 10:
                wire.send(20_000)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)
        sent = wire.sent
        wait_for(lambda: nic.frames + wire.counts()["drop_ring"] == sent, "every frame")
        assert sent % 20_000 == 0


def test_a_program_behind_a_link_is_replaced_between_two_frames(lab: Lab) -> None:
    with Seen() as first, Seen() as second, Wire(lab) as wire, first.attached(lab, "drop") as link:
        for turn in range(6):
            wire.send_windowed(100, lambda: first.frames + second.frames)
            link.replace((second, first)[turn % 2].program("drop"))
        assert (first.frames, second.frames) == (300, 300)


def test_each_core_sends_and_receives_the_flows_that_are_its_own(lab: Lab) -> None:
    """What RSS is made of: a thread for each core, counted where it sends and where the NIC has it."""
    used = cores.usable()[:2]
    with dropping(lab) as nic, Wire(lab, Traffic(flows=3, batch=64)) as wire:
        wire.begin(1, used)
        assert [lane.core for lane in wire.lanes] == used
        with wire.running() as threads:
            assert len(set(threads)) == len(used)
            wait_for(lambda: all(nic.by_core()[core] >= 1000 for core in used), "frames on each core")
        rows = wire.counts_by_core()
        sent = {core: int(rows["sent"][core] - rows["drop_ring"][core]) for core in used}
        wait_for(lambda: nic.frames == sum(sent.values()), "every frame")
        assert {core: int(count) for core, count in enumerate(nic.by_core()) if count} == sent


def test_a_core_that_may_not_be_used_is_refused(lab: Lab) -> None:
    with pytest.raises(BadInput, match="core 4096 is not to be used here"):
        Wire(lab, core=4096)


@contextmanager
def stock_stack(lab: Lab) -> Iterator[socket.socket]:
    """An ordinary socket on the NIC's address. A veth takes frames only while its peer has a program."""
    with netns.entered(lab.host_ns), Program(bpf.returning(bpf.XDP_PASS), Kind.XDP) as passing:
        link = Link(passing.fd, lab.nic_index, bpf.ATTACH_XDP, bpf.XDP_NATIVE)
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with link, sink:
        sink.bind((lab.plan.nic_ip, SINK_PORT))
        sink.setblocking(False)
        yield sink


@pytest.mark.parametrize("payload", [18, 19, 1400])
def test_the_stock_stack_takes_every_datagram(lab: Lab, payload: int) -> None:
    """It checks addresses, lengths and both checksums; then order, ports and stamps are looked at here."""
    flows, count, got = 3, 600, []

    with stock_stack(lab) as sink, Wire(lab, Traffic(payload, flows, run=77)) as wire:

        def received() -> int:
            while True:
                try:
                    got.append(sink.recvfrom(2048))
                except BlockingIOError:
                    return len(got)

        wire.send_windowed(count, received, window=16)  # each takes a page of the socket's buffer
    assert len(got) == count
    filling = bytes(at & 0xFF for at in range(payload - 18))
    for at, (data, (address, port)) in enumerate(got):
        run, flow, sequence, intended = struct.unpack("=IHIQ", data[:18])
        assert (run, flow, sequence) == (77, at % flows, at // flows)
        assert (address, port) == (lab.plan.wire_ip, FIRST_PORT + flow)
        assert data[18:] == filling and intended > 0


def test_a_wrong_checksum_would_be_noticed(lab: Lab) -> None:
    """What makes the stock stack a witness: the same frames with a sum that is off by one."""

    def refused() -> int:
        with netns.entered(lab.host_ns):
            names, values = [
                line.split()[1:]
                for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()
                if line.startswith("Udp:")
            ]
        return int(dict(zip(names, values, strict=True))["InCsumErrors"])

    with stock_stack(lab) as sink:
        frame = build(lab.plan, 18)
        with Wire(lab, frame=replace(frame, sum=frame.sum + 1)) as wire:
            wire.send_windowed(100, refused)
        with pytest.raises(BlockingIOError):
            sink.recv(2048)
