"""The lab: every case carries traffic, nothing is left behind, nothing foreign is touched."""

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import TEST_LAB, MakeLab
from pyroute2 import IPRoute

from bench import lab as labs
from bench import lab_build
from bench.cli import run
from bench.lab_plan import MAX_MTU, Endpoint, Lab
from steering import bpf, ethtool, netns
from steering.bpf import returning
from steering.errors import OversprayError

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("host_as_found")]

CASES = ("native", "linux", "docker", "flannel")
_PERMANENT = 0x80


def udp(stack: ExitStack, ns: str, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.entered(ns):
        made = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    made.bind((address, 0))
    made.settimeout(2)
    return made


def echo(lab: Lab, end: Endpoint, size: int) -> None:
    """A datagram from the remote talker to the endpoint, and back."""
    with ExitStack() as stack:
        talker, listener = udp(stack, lab.wire_ns, end.peer_ip), udp(stack, end.netns, end.ip)
        talker.sendto(bytes(size), listener.getsockname()[:2])
        try:
            data, sender = listener.recvfrom(size + 1)
        except TimeoutError:
            raise AssertionError(f"{size} bytes did not arrive:\n{counters(lab)}") from None
        assert (len(data), sender[0]) == (size, end.peer_ip)
        listener.sendto(data, sender[:2])
        assert len(talker.recv(size + 1)) == size


def counters(lab: Lab) -> str:
    """What the lab's namespaces have counted, to find a lost packet by."""
    found = []
    for ns in lab.namespaces:
        with netns.entered(ns):
            for name in ("dev", "snmp", "snmp6"):
                text = Path("/proc/thread-self/net", name).read_text()
                lines = (line for line in text.splitlines() if not line.endswith("\t0"))
                found += [f"{ns}: {line}" for line in lines]
    return "\n".join(found)


def largest_payload(lab: Lab) -> int:
    return lab.spec.inner_mtu - (48 if lab.spec.inner == 6 else 28)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("inner", [4, 6])
def test_sockets_talk_both_ways(make_lab: MakeLab, case: str, outer: int, inner: int) -> None:
    lab = make_lab(case, outer=outer, inner=inner)
    for size in (18, largest_payload(lab)):
        echo(lab, lab.endpoints[0], size)


def test_tcp_through_the_tunnel(make_lab: MakeLab) -> None:
    lab, size = make_lab("docker"), 1 << 20
    end = lab.endpoints[0]
    with ExitStack() as stack:
        with netns.entered(end.netns):
            server = stack.enter_context(socket.create_server((end.ip, 0)))
        with netns.entered(lab.wire_ns):
            client = stack.enter_context(socket.create_connection(server.getsockname(), 2))
        taken, _ = server.accept()
        stack.enter_context(taken)
        taken.settimeout(2)
        client.sendall(bytes(size // 16))
        got = 0
        while got < size // 16:
            got += len(taken.recv(65536))


@pytest.mark.parametrize("case", ["docker", "flannel"])
def test_each_of_several_containers_is_reached(make_lab: MakeLab, case: str) -> None:
    lab = make_lab(case, containers=3)
    for end in lab.endpoints:
        echo(lab, end, 100)


def test_the_largest_mtu_takes_native_xdp(make_lab: MakeLab) -> None:
    lab = make_lab("flannel", mtu=MAX_MTU)
    program = bpf.prog_load(returning(2), bpf.PROG_TYPE_XDP)
    with ExitStack() as stack:
        stack.callback(labs.os.close, program)
        end = lab.endpoints[0]
        for ns, device in ((lab.host_ns, lab.nic), (lab.wire_ns, lab.wire), (end.netns, "eth0")):
            with netns.entered(ns):
                index = socket.if_nametoindex(device)
                link = bpf.link_create(program, index, bpf.ATTACH_XDP, bpf.XDP_FLAGS_DRV_MODE)
            stack.callback(labs.os.close, link)
        echo(lab, end, largest_payload(lab))


@pytest.mark.parametrize(("outer", "inner"), [(4, 4), (6, 6)])
def test_nothing_is_said_that_nobody_asked_for(make_lab: MakeLab, outer: int, inner: int) -> None:
    lab = make_lab("docker", outer=outer, inner=inner, containers=2)
    end = lab.endpoints[1]
    time.sleep(0.1)  # IPv6 multicast reports about the new addresses
    with ExitStack() as stack:
        with netns.entered(lab.host_ns):
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            stack.enter_context(tap).bind((lab.nic, 0))
        talker, listener = udp(stack, lab.wire_ns, end.peer_ip), udp(stack, end.netns, end.ip)
        for _ in range(3):
            talker.sendto(b"one way", listener.getsockname()[:2])
            listener.recv(100)
        tap.settimeout(0.3)
        seen = []
        with pytest.raises(TimeoutError):
            while True:
                seen.append(tap.recv(2000))
    assert len(seen) == 3, "the datagrams; no ARP, no neighbour discovery, no reports"


def test_everything_is_known_beforehand(make_lab: MakeLab) -> None:
    lab = make_lab("docker")
    end = lab.endpoints[0]
    for ns in (lab.wire_ns, lab.host_ns, end.netns):
        with netns.entered(ns), IPRoute() as route:
            states = [neighbour["state"] for neighbour in route.get_neighbours()]
        assert states and set(states) <= {_PERMANENT, 0x40}


def test_offloads_are_as_a_real_wire_wants_them(make_lab: MakeLab) -> None:
    lab = make_lab("docker", queues=2)
    end = lab.endpoints[0]
    checksum = "tx-checksum-ip-generic"
    for ns, device, on in (
        (lab.wire_ns, lab.wire, False),
        (lab.wire_ns, lab.tunnel, False),
        (end.netns, end.device, False),
        (end.host_netns, end.host_device, True),  # it forwards what GRO has put together
    ):
        with netns.entered(ns):
            assert ethtool.feature(device, checksum) is on
    with netns.entered(lab.host_ns):
        assert ethtool.feature(lab.nic, "rx-gro")
        assert ethtool.channels(lab.nic) == (2, 2)
    with netns.entered(end.netns):
        assert ethtool.channels(end.device) == (2, 2)


def test_the_same_is_used_again_and_another_made_anew(make_lab: MakeLab) -> None:
    lab = make_lab("flannel")
    host = netns.identity(lab.host_ns)
    assert labs.up(lab.spec) == lab
    assert netns.identity(lab.host_ns) == host
    other = make_lab("flannel", mtu=1400, containers=2)
    echo(other, other.endpoints[1], largest_payload(other))
    assert netns.exists(f"{TEST_LAB}-flannel-c1")
    make_lab("flannel")
    assert not netns.exists(f"{TEST_LAB}-flannel-c1")


def test_a_damaged_lab_is_mended_by_up(make_lab: MakeLab) -> None:
    lab = make_lab("docker")
    with netns.entered(lab.host_ns), IPRoute() as route:
        route.link("del", index=route.link_lookup(ifname="nic0")[0])
    assert labs.find(TEST_LAB, "docker") is None
    assert [whole for _, whole in labs.show(TEST_LAB)] == [False]
    labs.up(lab.spec)
    assert labs.find(TEST_LAB, "docker") == lab
    echo(lab, lab.endpoints[0], 18)


def test_labs_of_several_cases_stand_side_by_side(make_lab: MakeLab) -> None:
    docker, flannel = make_lab("docker"), make_lab("flannel")
    labs.down(TEST_LAB, "docker")
    assert not any(netns.exists(name) for name in docker.namespaces)
    echo(flannel, flannel.endpoints[0], 18)


def test_foreign_namespaces_are_left_alone() -> None:
    foreign = f"{TEST_LAB}-docker-overlay"
    netns.create(foreign)
    try:
        with pytest.raises(OversprayError, match="is not the lab's"):
            labs.up(labs.LabSpec(case="docker", name=TEST_LAB))
        assert labs.down(TEST_LAB) == []
        assert netns.names(TEST_LAB) == [foreign]
    finally:
        netns.remove(foreign)


def test_a_lost_record_does_not_lose_the_lab(make_lab: MakeLab) -> None:
    lab = make_lab("linux")
    (labs.STATE / f"{TEST_LAB}-linux.json").unlink()
    assert sorted(labs.down(TEST_LAB)) == sorted(lab.namespaces)


@pytest.mark.parametrize("moment", [0.02, 0.06, 0.12, 0.2, 0.3])
@pytest.mark.parametrize("follower", ["up", "down"])
def test_a_killed_up_is_cleaned_by_the_next_command(moment: float, follower: str) -> None:
    spec = labs.LabSpec(case="docker", name=TEST_LAB, containers=4)
    script = (
        "from bench import lab; print('go', flush=True); "
        f"lab.up(lab.LabSpec(case='docker', name='{TEST_LAB}', containers=4))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "go\n"
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if follower == "up":
        lab = labs.up(spec)
        echo(lab, lab.endpoints[3], 18)
    labs.down(TEST_LAB)
    assert netns.names(TEST_LAB) == []


def test_a_failure_on_the_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(lab: Lab) -> None:
        raise OversprayError("planned")

    monkeypatch.setattr(lab_build, "make_bridge", fail)
    with pytest.raises(OversprayError, match="planned"):
        labs.up(labs.LabSpec(case="docker", name=TEST_LAB))
    assert labs.show(TEST_LAB) == []


def test_eighty_containers_take_a_few_seconds(make_lab: MakeLab) -> None:
    start = time.monotonic()
    lab = make_lab("docker", containers=80)
    assert time.monotonic() - start < 20
    echo(lab, lab.endpoints[79], 18)


def test_command_line(capfd: pytest.CaptureFixture[str]) -> None:
    name = ["--name", TEST_LAB, "--json"]
    try:
        assert run(["lab", "up", "--case", "linux", "--inner", "6", *name]) == 0
        assert json.loads(capfd.readouterr().out)["spec"]["inner"] == 6
        assert run(["lab", "show", *name]) == 0
        [shown] = json.loads(capfd.readouterr().out)
        assert shown["whole"] and shown["tunnel_ns"] == f"{TEST_LAB}-linux-host"
    finally:
        assert run(["lab", "down", *name]) == 0
    assert len(json.loads(capfd.readouterr().out)["removed"]) == 2
    assert run(["lab", "up", "--mtu", "9000", *name]) == 2
    assert capfd.readouterr().err.count("\n") == 1
