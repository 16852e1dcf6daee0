"""The wire's frames as tshark sees them: a dissector that nobody here wrote."""

import json
import subprocess
from pathlib import Path

import pytest
from commands import DYING_WITH_US

from bench.frame import FIRST_PORT, SINK_PORT
from bench.lab import lab
from bench.traffic import Traffic
from bench.wire import Wire
from steering import bpf, netns
from steering.bpf import Kind, Link, Program

COUNT = 300
FIELDS = ("ip.checksum.status", "udp.checksum.status", "udp.srcport", "udp.dstport", "udp.length", "ip.ttl")


@pytest.mark.needs("tshark")
@pytest.mark.parametrize("payload", [18, 1399, 1400])
def test_every_frame_is_well_formed(payload: int, tmp_path: Path) -> None:
    capture = tmp_path / "frames.pcap"
    with lab() as up:
        with netns.entered(up.host_ns), Program(bpf.returning(bpf.XDP_PASS), Kind.XDP) as passing:
            link = Link(passing.fd, up.nic_index, bpf.ATTACH_XDP, bpf.XDP_NATIVE)
            # Only what the wire sends: with nobody to receive it, our host answers by ICMP.
            only = ("-c", str(COUNT), "-f", f"udp dst port {SINK_PORT}")
            dumpcap = subprocess.Popen(
                [*DYING_WITH_US, "dumpcap", "-q", "-P", "-i", "nic0", "-w", capture, *only],
                stderr=subprocess.PIPE,
                text=True,
            )
        with link, dumpcap:
            assert dumpcap.stderr is not None
            said = [dumpcap.stderr.readline()]
            while "File:" not in said[-1]:  # it says so when it listens
                assert said[-1], f"dumpcap ended: {said}"
                said.append(dumpcap.stderr.readline())
            with Wire(up, Traffic(payload, flows=3)) as wire:
                while dumpcap.poll() is None:  # the first few may come before it listens
                    wire.send(16)
    said = subprocess.run(
        [
            "tshark",
            "-r",
            capture,
            "-T",
            "json",
            "-o",
            "ip.check_checksum:TRUE",
            "-o",
            "udp.check_checksum:TRUE",
        ]
        + [word for field in FIELDS for word in ("-e", field)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [{name: v[0] for name, v in each["_source"]["layers"].items()} for each in json.loads(said.stdout)]
    assert len(rows) == COUNT
    for row in rows:
        assert (row["ip.checksum.status"], row["udp.checksum.status"]) == ("1", "1"), "good, both"
        assert (row["udp.dstport"], row["udp.length"]) == (str(SINK_PORT), str(8 + payload))
        assert FIRST_PORT <= int(row["udp.srcport"]) < FIRST_PORT + 3
    assert {row["ip.ttl"] for row in rows} == {"64"}
