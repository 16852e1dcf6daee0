"""The datapath in the lab: real sockets on both sides, in every case, by both deliveries."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyroute2 import IPRoute
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether
from talk import Raw, Talk, attached, numbered, overlay_of, plan, settings_of

from bench import lab as labs
from bench.lab_plan import Lab
from steering import journal, netns
from steering.datapath import Datapath
from steering.errors import BadInput, OversprayError
from steering.settings import Sysfs
from steering.undo import Changes, recover
from steering.unit import Programs

NAME = "vt"
pytestmark = pytest.mark.root
two_cores = pytest.mark.skipif(os.cpu_count() == 1, reason="host cannot: it has one core")


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    with Programs() as programs:
        yield programs


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    labs.down(NAME)
    assert netns.names(f"{NAME}-") == []
    assert not list(journal.JOURNALS.glob(f"*-{os.getpid()}-*"))


def up(case: str, outer: int = 4, inner: int = 4, **more: int) -> Lab:
    return labs.up(labs.LabSpec(case=case, name=NAME, outer=outer, inner=inner, **more))


@pytest.mark.parametrize(
    ("case", "outer", "inner", "text"),
    [
        ("docker", 4, 4, "local:deliver=peer"),
        ("docker", 4, 6, "pin:deliver=veth"),
        ("docker", 6, 4, "local:deliver=veth"),
        ("docker", 6, 6, "backlog:cell=4,limit=16,deliver=peer"),
        ("flannel", 4, 4, "local:deliver=veth"),
        ("flannel", 4, 6, "pin:deliver=peer"),
        ("flannel", 6, 4, "roundrobin:deliver=peer"),
        ("flannel", 6, 6, "flowcell:cell=4,local=50,deliver=veth"),
        ("linux", 4, 4, "backlog:cell=4,limit=16,deliver=peer"),
        ("linux", 4, 6, "roundrobin:deliver=veth"),
        ("linux", 6, 6, "local:deliver=peer"),
    ],
)
def test_datagrams_arrive_intact_on_the_fast_path(
    programs: Programs, case: str, outer: int, inner: int, text: str
) -> None:
    lab = up(case, outer, inner)
    before = settings_of(lab)
    largest = lab.spec.inner_mtu - (48 if inner == 6 else 28)
    sent = [*numbered(64), b"", *numbered(2, largest), *(bytes(size) for size in range(1, 40))]
    with Talk(lab) as talk:
        with attached(lab, plan(text), programs) as datapath:
            arrived = talk.send(sent)
            counted = datapath.totals()
        assert settings_of(lab) == before
        assert talk.send(sent) == sent, "stock forwards again"
        assert datapath.totals() == counted
    assert Counter(arrived) == Counter(sent)
    if text.startswith(("local", "pin")):
        assert arrived == sent
    fast = counted.steer["local"] + counted.steer["remote"]
    assert (counted.steer["seen"], fast) == (len(sent), len(sent))
    assert (counted.sent, counted.lost, counted.done) == (counted.steer["remote"], 0, counted.sent)
    if "veth" in text and case != "linux":
        assert counted.deliver["veth"] == counted.sent
        assert counted.peer["segments"] == 0
    else:
        assert counted.peer["segments"] == fast


@pytest.mark.parametrize("case", ["docker", "flannel", "linux"])
def test_a_stream_arrives_whole_both_ways(programs: Programs, case: str) -> None:
    lab, size = up(case), 1 << 22
    end = lab.endpoints[0]
    with attached(lab, plan("local"), programs) as datapath:
        with netns.entered(end.netns):
            server = socket.create_server((end.ip, 0))
        with netns.entered(lab.wire_ns):
            client = socket.create_connection(server.getsockname(), 2, (end.peer_ip, 0))
        taken, _ = server.accept()
        with server, client, taken:
            for one, other in ((client, taken), (taken, client)):
                sender = threading.Thread(target=one.sendall, args=(os.urandom(size),))
                sender.start()
                got = 0
                while got < size:
                    got += len(other.recv(1 << 20))
                sender.join()
        counted = datapath.totals()
    # GRO merges what was stripped.
    assert counted.peer["segments"] > counted.peer["delivered"] > 0
    assert counted.steer["local"] == counted.peer["segments"] == counted.steer["seen"]


@two_cores
@pytest.mark.parametrize("delivery", ["veth", "peer"])
@pytest.mark.parametrize("case", ["docker", "flannel"])
def test_which_core_gets_the_packets(programs: Programs, case: str, delivery: str) -> None:
    lab = up(case)
    with (
        attached(lab, plan(f"pin:deliver={delivery}", 0, 1), programs) as datapath,
        Talk(lab) as talk,
    ):
        before = datapath.unit.workers()
        for slot, core in ((2, 1), (1, 0)):
            datapath.set({"worker": slot})
            talk.send(numbered(23))
            assert talk.core() == core
        after = datapath.unit.workers()
        assert [int(core) for core in after["core"]] == [0, 1]
        for end in ("sent", "done"):
            assert [int(count) for count in after[end] - before[end]] == [23, 23]


@two_cores
@pytest.mark.parametrize("case", ["docker", "linux"])
def test_after_gro_on_another_core(programs: Programs, case: str) -> None:
    lab = up(case)
    spread = Sysfs(f"class/net/{lab.nic}/queues/rx-0/rps_cpus")

    def mask() -> object:
        return netns.in_namespace(lab.host_ns, spread.read)

    with overlay_of(lab) as overlay, Changes() as changes, Talk(lab) as talk:
        with Datapath(overlay, plan("pipeline", 1), changes, programs) as datapath:
            for text, core in (("pipeline", 1), ("pipeline", 0), ("local:rps=1", 1)):
                datapath.swap(plan(text, core))
                assert mask() == f"{1 << core:x}"
                assert talk.send(numbered(23)) == numbered(23)
                assert talk.core() == core
            counted = datapath.totals()
            datapath.swap(plan("local", 1))
            assert mask() == "0", "as it was found"
            datapath.swap(plan("pipeline", 1))
        changes.undo()
        assert mask() == "0"
    assert counted.steer["local"] == counted.steer["seen"] == counted.peer["segments"] == 69


@two_cores
def test_a_cell_stays_together(programs: Programs) -> None:
    lab = up("flannel")
    with (
        attached(lab, plan("flowcell:cell=8,local=50", 1), programs) as datapath,
        Talk(lab) as talk,
    ):
        os.sched_setaffinity(0, {0})
        try:
            cores = [(talk.send([datagram]), talk.core())[1] for datagram in numbered(32)]
        finally:
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
        assert cores == ([1] * 8 + [0] * 8) * 2
        assert datapath.totals().steer["local"] == 16


def test_every_policy_by_turns_under_traffic(programs: Programs) -> None:
    lab = up("docker")
    texts = ["local", "pin", "roundrobin", "flowcell:cell=4", "backlog:cell=4", "pin", "local"]
    with attached(lab, plan(texts[-1]), programs) as datapath, Talk(lab) as talk:
        stop, arrived, sent = threading.Event(), [], 0

        def keep_sending() -> None:
            nonlocal sent
            while not stop.is_set():
                arrived.extend(talk.send(numbered(8, first=sent)))
                sent += 8
                time.sleep(0.0005)

        sender = threading.Thread(target=keep_sending)
        sender.start()
        try:
            for text in texts:
                datapath.swap(plan(text))
                assert datapath.plan.policy.name == text.split(":")[0]
                time.sleep(0.1)
        finally:
            stop.set()
            sender.join()
        counted = datapath.totals()
    assert sent > 500 and Counter(arrived) == Counter(numbered(sent))
    assert counted.steer["local"] + counted.steer["remote"] == counted.steer["seen"] == sent
    assert counted.sent == counted.done == counted.steer["remote"] > 0
    assert counted.steer["local"] > 0


def test_several_containers_each_get_their_own(programs: Programs) -> None:
    lab = up("docker", containers=3)
    with attached(lab, plan("pin"), programs) as datapath:
        talks = [Talk(lab, end) for end in lab.endpoints]
        for number, talk in enumerate(talks):
            assert talk.send(numbered(5, first=100 * number)) == numbered(5, first=100 * number)
        assert all(talk.silent(0.05) for talk in talks)
        for talk in talks:
            talk.close()
        assert datapath.totals().steer["remote"] == 15


@pytest.mark.parametrize(("case", "delivery"), [("docker", "peer"), ("flannel", "veth")])
def test_a_container_that_goes_and_comes_back(programs: Programs, case: str, delivery: str) -> None:
    lab = up(case, containers=2)
    with (
        overlay_of(lab) as overlay,
        Changes() as changes,
        Datapath(overlay, plan(f"local:deliver={delivery}"), changes, programs) as datapath,
        Talk(lab, lab.endpoints[0]) as one,
        Talk(lab, lab.endpoints[1]) as other,
    ):
        kept = {end for end in overlay.endpoints if end.mac == lab.endpoints[1].mac}
        for endpoints, fast in ((kept, 5), (overlay.endpoints, 10), (frozenset(), 0)):
            datapath.update(replace(overlay, endpoints=frozenset(endpoints)))
            before = datapath.totals()
            one.send(numbered(5))
            other.send(numbered(5))
            counted = (datapath.totals() - before).steer
            assert (counted["local"], counted["pass_endpoint"]) == (fast, 10 - fast)


@pytest.mark.parametrize(("case", "inner"), [("docker", 4), ("flannel", 6), ("linux", 4)])
def test_ping_and_neighbours_take_the_stock_path(programs: Programs, case: str, inner: int) -> None:
    lab = up(case, inner=inner)
    end = lab.endpoints[0]
    frame = Ether(src=end.peer_mac, dst=end.mac)
    if inner == 4:
        ping = frame / IP(src=end.peer_ip, dst=end.ip) / ICMP(id=1, seq=2)
        asks = Ether(src=end.peer_mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
            hwsrc=end.peer_mac, psrc=end.peer_ip, pdst=end.ip
        )
    else:
        ping = frame / IPv6(src=end.peer_ip, dst=end.ip) / ICMPv6EchoRequest(id=1, seq=2)
        asks = frame / IPv6(src=end.peer_ip, dst=end.ip, hlim=255) / ICMPv6ND_NS(tgt=end.ip)
    with (
        attached(lab, plan("local"), programs) as datapath,
        Raw(lab.wire_ns, lab.tunnel) as wire,
    ):
        wire.send([bytes(ping)])
        answer = Ether(wire.find(lambda frame: bytes(frame)[12:14] != b"\x08\x06"))
        assert (answer.src, answer.dst) == (end.mac, end.peer_mac)
        assert answer.haslayer("ICMPv6 Echo Reply" if inner == 6 else "ICMP")
        wire.send([bytes(asks)])
        kind = ICMPv6ND_NA if inner == 6 else ARP
        answer = Ether(wire.find(lambda frame: Ether(frame).haslayer(kind)))
        assert (answer.tgt if inner == 6 else answer.psrc) == end.ip
        counted = datapath.totals().steer
    assert counted["local"] == 0
    assert counted["pass_inner"] == counted["seen"] == 2


@pytest.mark.parametrize("delivery", ["veth", "peer"])
@pytest.mark.parametrize("case", ["docker", "flannel"])
def test_a_bare_frame_gets_nowhere(programs: Programs, case: str, delivery: str) -> None:
    lab = up(case)
    end = lab.endpoints[0]
    with (
        attached(lab, plan(f"local:deliver={delivery}"), programs) as datapath,
        Talk(lab) as talk,
        Raw(lab.wire_ns, lab.wire) as wire,
        Raw(end.netns, end.device) as inside,
    ):
        ports = {"sport": talk.talker.getsockname()[1], "dport": talk.listener.getsockname()[1]}
        inner = Ether(src=end.peer_mac, dst=end.mac) / IP(src=end.peer_ip, dst=end.ip)
        bare = bytes(inner / UDP(**ports) / b"bare")
        # What stands in front of a stripped frame is no part of a frame that comes over the wire.
        forged = bytes(24) + bare
        wire.send([bare, forged, bytes(Ether(dst=lab.nic_mac) / inner.payload / UDP(**ports))])
        assert talk.silent()
        assert inside.received(0.05) == []
        counted = datapath.totals()
    assert (counted.steer["pass_other"], counted.steer["pass_length"]) == (2, 1)
    assert (counted.peer["stock"], counted.peer["delivered"]) == (3, 0)


def test_a_proof_with_another_secret_is_none(programs: Programs) -> None:
    lab = up("flannel")
    with attached(lab, plan("local"), programs) as datapath, Talk(lab) as talk:
        secret = (programs.secret ^ 1).to_bytes(8, "little")
        datapath.peer.put("peer_settings", 0, secret + bytes(8))
        try:
            talk.talker.send(b"with a proof that is not ours")
            assert talk.silent()
            assert datapath.totals().peer["stock"] == 1
        finally:
            right = programs.secret.to_bytes(8, "little")
            datapath.peer.put("peer_settings", 0, right + bytes(8))
        assert talk.send([b"with ours"]) == [b"with ours"]


def test_what_was_counted_before_does_not_count(programs: Programs) -> None:
    lab = up("flannel")
    with Talk(lab) as talk:
        for _ in range(2):
            with attached(lab, plan("pin"), programs) as datapath:
                assert datapath.totals().steer["seen"] == datapath.totals().sent == 0
                talk.send(numbered(7))
                assert datapath.totals().steer["remote"] == datapath.totals().sent == 7
                assert datapath.totals().peer["segments"] == 7


def test_a_swap_keeps_the_delivery(programs: Programs) -> None:
    lab = up("flannel")
    with attached(lab, plan("local:deliver=veth"), programs) as datapath, Talk(lab) as talk:
        with pytest.raises(BadInput, match=r"keeps the delivery \(veth\): detach and attach"):
            datapath.swap(plan("local:deliver=peer"))
        assert talk.send(numbered(3)) == numbered(3)
        assert datapath.totals().steer["local"] == 3


def test_a_device_that_is_taken_is_left_alone(programs: Programs) -> None:
    lab = up("flannel")
    before = settings_of(lab)
    with attached(lab, plan("local"), programs):
        taken = settings_of(lab)
        said = f"attach to '{lab.nic}': another XDP program is attached: detach it first"
        with pytest.raises(OversprayError, match=said), attached(lab, plan("pin")):
            pass
        assert settings_of(lab) == taken
    assert settings_of(lab) == before


def test_too_large_an_mtu_is_one_line(programs: Programs) -> None:
    lab = up("docker")
    before = settings_of(lab)
    for ns, device in ((lab.wire_ns, lab.wire), (lab.host_ns, lab.nic)):
        with netns.entered(ns), IPRoute() as route:
            route.link("set", index=route.link_lookup(ifname=device)[0], mtu=9000)
    wide, said = settings_of(lab), f"attach to '{lab.nic}': .*MTU"
    with pytest.raises(OversprayError, match=said), attached(lab, plan("local"), programs):
        pass
    assert settings_of(lab) == wide != before


_CONTROLLER = """
import sys, time
sys.path[:0] = sys.argv[1:]
from talk import attached, plan
from bench import lab as labs
lab = labs.find("vt", "docker")
with attached(lab, plan("pin:deliver=" + sys.argv[2])) as datapath:
    print("attached", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("delivery", ["veth", "peer"])
def test_a_killed_controller_leaves_stock_forwarding_at_once(delivery: str) -> None:
    lab = up("docker")
    before = settings_of(lab)
    here = str(Path(__file__).parent)
    with Talk(lab) as talk:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _CONTROLLER, here, delivery],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None and process.stdout.readline() == "attached\n"
            assert talk.send(numbered(20)) == numbered(20)
            assert settings_of(lab) != before
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert talk.send(numbered(50)) == numbered(50)
        recover()
        assert settings_of(lab) == before
        assert talk.send(numbered(50)) == numbered(50)
