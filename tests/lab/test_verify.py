"""The stock stack as oracle: no unknown difference, and none that is put in stays unseen.

100 000 frames by four setups; the long form is `overspray verify --frames 10000000`.
"""

import json
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw as Bytes

from bench import verify_side
from bench.cli import run as overspray
from bench.lab_plan import MAX_MTU, Lab
from bench.verify import SUITE, Setup, Twins, datagram
from bench.verify_bytes import MAGIC, number_of, ones_sum
from bench.verify_capture import readdressed
from bench.verify_known import names
from bench.verify_run import compare, made
from bench.verify_side import OTHER_VTEP
from prototype import frames as captures
from steering import compile as compiling
from steering import netns
from steering.errors import OversprayError
from steering.plan import read_plan
from steering.spec import Spec
from steering.unit import Programs
from xdp import SOURCES

NAME = "vy"
FRAMES = 25_000
PLAIN = Setup("flannel", "roundrobin:deliver=peer")
VETH = Setup("docker", "local:deliver=veth", 6, 4)
SMALL = Setup("docker", "backlog:cell=4,limit=16,deliver=peer", 4, 6, MAX_MTU, 1450)
LEARNS = Setup("docker", "local:deliver=peer")  # as Flannel's tunnel does not
TRIED = [PLAIN, VETH, SMALL, Setup("flannel", "local:deliver=veth", 6, 6)]
pytestmark = pytest.mark.root
plain = pytest.mark.parametrize("twins", [PLAIN], indirect=True, ids=str)


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    with Programs() as made_once:
        yield made_once


@pytest.fixture(scope="module")
def twins(request: pytest.FixtureRequest, programs: Programs) -> Iterator[Twins]:
    with Twins(request.param, NAME, programs) as pair:
        yield pair


@pytest.mark.parametrize("twins", TRIED, indirect=True, ids=str)
def test_no_unknown_difference(twins: Twins) -> None:
    report = compare(twins, made(twins.lab, 20, twins.setup), FRAMES)
    assert [line for each in report.findings for line in each.lines()] == []
    assert report.frames == FRAMES
    assert report.fast > FRAMES / 6
    assert report.sights > FRAMES / 3
    assert set(report.known) <= set(names())


@dataclass(frozen=True)
class Odd:
    """A datagram to the first container; each field is what may be odd about it."""

    number: int
    size: int = 20
    source: str = ""
    receiver: str = ""
    vtep: str = ""
    damaged: bool = False
    short: int = 0
    edge: bool = False

    def frame(self, lab: Lab) -> bytes:
        """The whole frame, all checksums computed before the damage is done."""
        end, six = lab.endpoints[0], lab.spec.inner == 6
        load = (MAGIC + struct.pack("!I", self.number)).ljust(self.size, b".")
        ip = (IPv6 if six else IP)(src=end.peer_ip, dst=end.ip)
        if self.edge:  # the checksum is 1 before the packet is marked, and 0 afterwards
            ip.tos, ip.id = 2, 0
            (base,) = struct.unpack("!H", bytes(ip / UDP(sport=1024, dport=9) / load)[10:12])
            ip.id = (base - 1) % 0xFFFF
        inside = bytes(ip / UDP(sport=1024, dport=9) / load)
        if self.short:
            at = 40 if six else 20
            size = len(inside) - at
            cut = inside[: at + 4] + struct.pack("!HH", size - self.short, 0) + inside[at + 8 :]
            ends = cut[8:40] if six else cut[12:20]
            value = ~ones_sum(ends + cut[at:], 17 + size) & 0xFFFF
            inside = cut[: at + 6] + struct.pack("!H", value) + cut[at + 8 :]
        macs = Ether(
            src=self.source or end.peer_mac, dst=self.receiver or end.mac, type=ip_type(six)
        )
        outer = (IPv6 if lab.spec.outer == 6 else IP)(
            src=self.vtep or lab.remote_vtep_ip, dst=lab.vtep_ip
        )
        if self.edge:
            outer.tos = 3
        tunnel = UDP(sport=49152, dport=lab.port) / VXLAN(flags="Instance", vni=lab.spec.vni)
        whole = bytes(
            Ether(src=lab.wire_mac, dst=lab.nic_mac) / outer / tunnel / macs / Bytes(inside)
        )
        return whole[:-1] + b"?" if self.damaged else whole


@dataclass(frozen=True)
class Ask(Odd):
    """Somebody asks for the first container's MAC, in the name of ``source``."""

    def frame(self, lab: Lab) -> bytes:
        end = lab.endpoints[0]
        name = end.peer_ip.rpartition(".")[0] + ".250"
        asks = ARP(hwsrc=self.source, psrc=name, pdst=end.ip)
        inside = Ether(src=end.peer_mac, dst="ff:ff:ff:ff:ff:ff") / asks
        tunnel = UDP(sport=49152, dport=lab.port) / VXLAN(flags="Instance", vni=lab.spec.vni)
        outer = IP(src=lab.remote_vtep_ip, dst=lab.vtep_ip)
        return bytes(Ether(src=lab.wire_mac, dst=lab.nic_mac) / outer / tunnel / inside)


def ip_type(six: bool) -> int:
    return 0x86DD if six else 0x0800


STRANGER, ROAMER = "02:00:00:00:99:99", "02:00:00:00:77:77"
KNOWN = [
    ("damaged payload", PLAIN, [Odd(1, damaged=True)]),
    ("unlearned sender", PLAIN, [Odd(2, source=STRANGER), Odd(3, receiver=STRANGER)]),
    ("two zeros", PLAIN, [Odd(7, edge=True)]),
    ("checksum over more", VETH, [Odd(4, short=8)]),
    ("larger than the MTU inside", SMALL, [Odd(6, size=2000)]),
    (
        "moved sender",
        LEARNS,
        [Odd(9, source=ROAMER, vtep="198.18.0.77"), Odd(10, source=ROAMER), Ask(11, source=ROAMER)],
    ),
]
"""The rows of the table in docs/limits.md: name, where it is seen, and the fewest frames."""


@pytest.mark.parametrize(
    ("name", "twins", "odd"), KNOWN, indirect=["twins"], ids=[row[0] for row in KNOWN]
)
def test_a_known_difference_is_still_there(name: str, twins: Twins, odd: list[Odd]) -> None:
    outcome = twins.compare([each.frame(twins.lab) for each in odd])
    assert not outcome
    assert set(outcome.known) == {name}


@pytest.mark.parametrize("twins", [SMALL], indirect=True, ids=str)
def test_what_comes_late_is_judged_by_its_own_frame(twins: Twins) -> None:
    known, other = (
        Odd(number, size=size).frame(twins.lab) for number, size in ((6, 2000), (8, 20))
    )
    twins.compare([known])
    twins.ours.send([known])
    assert set(twins.compare([]).known) == {"larger than the MTU inside"}
    twins.compare([other])
    twins.ours.send([other])
    assert twins.compare([])


@pytest.mark.parametrize("twins", [VETH], indirect=True, ids=str)
def test_a_sender_from_a_vtep_that_it_is_not_behind_is_believed_by_neither(twins: Twins) -> None:
    odd = Odd(5, vtep=OTHER_VTEP[6])
    outcome = twins.compare([odd.frame(twins.lab)])
    assert not outcome and not outcome.known
    assert twins.compare([Odd(5).frame(twins.lab)]).sights


def test_every_known_difference_has_its_row() -> None:
    assert {name for name, *_ in KNOWN} == set(names())
    limits = Path(__file__).parents[2] / "docs/limits.md"
    assert all(f"| {name} |" in limits.read_text() for name in names())


BUGS = {
    20: ("a drop that is not counted", "return XDP_DROP;"),
    30: ("one bit of the inner packet", "inner.ethernet->h_source[5] ^= 1;"),
    40: ("wrong container", "endpoint = endpoints.lookup(&zero); if (!endpoint) return 0;"),
    50: ("wrong length after strip", "trim = 1;"),
}
"""What goes wrong with datagrams of so many bytes."""
_STRIP, _AFTER = "if (strip(ctx, tunnel, endpoint, setting, slot)) {", "if (slot == LOCAL_SLOT) {"
_HEADERS = 14 + 20 + 8
WORKERS = Setup("flannel", "pin:deliver=veth")
_FLIP = "__u32 to = proof->device; __u8 x = 1; counters->count[PEER_SEGMENTS]++; "
_FLIP += "bpf_skb_store_bytes(skb, 50, &x, 1, 0); return bpf_redirect_peer(to, 0);"
LATER = [
    (
        *("deliver.bpf.c", "counters->count[DELIVER_VETH]++;", "ctx->data_end - ctx->data"),
        *(WORKERS, {30: "return XDP_DROP;", 40: "return devmap.redirect_map(!proof->port, 0);"}),
    ),
    (
        *("peer.bpf.c", "counters->count[PEER_DELIVERED]++;", "skb->len"),
        *(PLAIN, {30: "return TC_ACT_SHOT;", 40: _FLIP}),
    ),
]
"""In the stages behind the NIC's: file, where, what a packet's length is there, and the same."""


def planted(folder: Path, file: str, *edits: tuple[str, str]) -> Path:
    """A copy of the programs' sources with something else in one of them."""
    copy = folder / "xdp"
    shutil.copytree(SOURCES, copy)
    text = (copy / file).read_text()
    for before, after in edits:
        assert text.count(before) == 1
        text = text.replace(before, after)
    (copy / file).write_text(text)
    return copy


def when(length: str, bugs: Mapping[int, str]) -> str:
    return "".join(
        f"if ({length} == {size + _HEADERS}) {{ {bug} }}\n" for size, bug in bugs.items()
    )


@pytest.fixture
def buggy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Programs]:
    """Programs compiled from a text with all of the bugs in it."""
    bugs = when("packet.length", {size: bug for size, (_, bug) in BUGS.items()})
    trim = f"if (trim) bpf_xdp_adjust_tail(ctx, -1);\n{_AFTER}"
    edits = (_STRIP, f"int trim = 0;\n{bugs}{_STRIP}"), (_AFTER, trim)
    monkeypatch.setattr(compiling, "SOURCES", planted(tmp_path, "steer.bpf.c", *edits))
    with Programs() as programs:
        yield programs


def numbered(lab: Lab) -> list[bytes]:
    """Datagrams to the second container; a frame's number is the size of its payload."""
    loads = [MAGIC + struct.pack("!I", size) + bytes(size - 8) for size in range(12, 60)]
    return [datagram(lab, lab.endpoints[1], load) for load in loads]


@pytest.mark.parametrize(
    ("file", "at", "length", "twins", "bugs"),
    LATER,
    indirect=["twins"],
    ids=[row[0].partition(".")[0] for row in LATER],
)
def test_bugs_of_later_stages_are_found(
    file: str,
    at: str,
    length: str,
    twins: Twins,
    bugs: Mapping[int, str],
    programs: Programs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = planted(tmp_path, file, (at, when(length, bugs) + at))
    with monkeypatch.context() as patch, Programs() as buggy:
        patch.setattr(compiling, "SOURCES", copy)
        twins.ours.attach(twins.plan, buggy)
        try:
            report = compare(twins, iter(numbered(twins.lab)), 48)
        finally:
            twins.ours.attach(twins.plan, programs)
    assert {number_of(each.frames[0]) for each in report.findings} == set(bugs)
    accounts = {number_of(each.frames[0]): each.outcome.accounts for each in report.findings}
    assert accounts[30], "a drop that is not counted"


@plain
def test_planted_bugs_are_found_and_minimised(
    programs: Programs, twins: Twins, buggy: Programs
) -> None:
    frames = numbered(twins.lab)
    twins.ours.attach(twins.plan, buggy)
    try:
        report = compare(twins, iter(frames), len(frames))
    finally:
        twins.ours.attach(twins.plan, programs)
    assert all(len(each.frames) == 1 for each in report.findings)
    assert {number_of(each.frames[0]) for each in report.findings} == set(BUGS)
    assert all(each.outcome.missing for each in report.findings)
    # What was dropped in silence is missed in the counters too.
    accounts = {number_of(each.frames[0]): each.outcome.accounts for each in report.findings}
    assert accounts[20]
    assert not compare(twins, iter(frames), len(frames)).findings


@plain
def test_when_nothing_arrives_that_is_a_difference(
    twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = list(islice(made(twins.lab, 3, twins.setup), 5))
    monkeypatch.setattr(verify_side, "_SHORT_PATIENCE", 0.1)
    monkeypatch.setattr(twins.ours, "send", lambda frames: None)
    report = compare(twins, iter(frames), len(frames))
    assert [each.frames for each in report.findings] == [()]
    assert next(report.findings[0].lines()).startswith("control frame(s)")


@plain
def test_a_lab_that_is_not_in_its_state_is_no_agreement(
    twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = list(islice(made(twins.lab, 3, twins.setup), 5))
    send = twins.stock.send
    monkeypatch.setattr(verify_side, "_PATIENCE", 0.5)
    monkeypatch.setattr(twins.stock, "send", lambda frames: send(frames[:-1]))
    with pytest.raises(OversprayError, match="nothing can be said of this lab"):
        twins.compare(frames)
    twins.stock.late(0.05)


@plain
def test_the_same_seed_makes_the_same_frames(twins: Twins) -> None:
    one, same, other = (list(islice(made(twins.lab, n, twins.setup), 2000)) for n in (1, 1, 2))
    assert one == same != other
    assert len({number_of(frame) for frame in one}) > 1000


@plain
def test_a_capture_is_addressed_to_the_lab(
    twins: Twins, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.pcap"
    captures.write(path, captures.generate(40, flows=3))
    words = ["verify", "--case", "linux", "--pcap", str(path), "--name", NAME, "--policy", "pin"]
    assert overspray([*words, "--json"]) == 0
    setups = json.loads(capsys.readouterr().out)["setups"]
    assert [each["frames"] for each in setups] == [40, 40]
    # The second lab's tunnel is an IPv6 one.
    assert [each["on_fast_path"] > 0 for each in setups] == [True, False]
    assert len(readdressed([b"short"], twins.lab)[0]) == 5


def test_captures_of_a_folder_go_into_the_tunnel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that can't be read are told; what goes in is taken for a container's own."""
    bare = [bytes(Ether(bytes(frame))[VXLAN].payload) for frame in captures.generate(5, flows=3)]
    captures.write(tmp_path / "a.pcap", captures.Frames.of(bare))
    (tmp_path / "b.pcapng").write_bytes(b"no capture")
    words = ["verify", "--case", "linux", "--pcap", str(tmp_path), "--inside", "--name", NAME]
    assert overspray([*words, "--keep", str(tmp_path / "kept.json"), "--json"]) == 0
    said = capsys.readouterr()
    assert [each["on_fast_path"] for each in json.loads(said.out)["setups"]] == [5, 5]
    assert said.err.startswith("1 of 2 captures left out, the first: '") and "b.pcapng" in said.err
    assert json.loads((tmp_path / "kept.json").read_text())["command"].endswith("--inside")


def test_several_at_once_kept_and_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kept.json"
    words = ["verify", "--case", "linux", "--frames", "2000", "--jobs", "2", "--name", NAME]
    for _ in range(2):  # the second time all is done
        assert overspray([*words, "--keep", str(path), "--json"]) == 0
        setups = json.loads(capsys.readouterr().out)["setups"]
        assert [each["frames"] for each in setups] == [1000, 1000]
        assert [each["seeds"] for each in setups] == [[1], [1]]
    assert len(json.loads(path.read_text())["parts"]) == 2


def test_broken_off_it_tells_what_is_done_and_takes_its_labs_down(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    small = "from bench import verify_jobs; verify_jobs.MOST = 500; "
    words = ("verify", "--case", "linux", "--frames", "1000000", "--jobs", "2", "--name", NAME)
    words = (*words, "--keep", str(path))
    with subprocess.Popen(
        [sys.executable, "-c", f"{small}from bench.cli import main; main()", *words],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "500 frames" in out and "0 unknown differences" in out
    assert not netns.names(f"{NAME}0") and not netns.names(f"{NAME}1")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--inside"], "add --pcap"),
        (["--pcap", "."], "no capture that can be read, of 0"),
        (["--case", "native"], "case with a tunnel"),
        (["--pcap", "/nowhere.pcap"], "/nowhere.pcap"),
        (["--policy", "nosuch"], "nosuch"),
    ],
)
def test_bad_input(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert overspray(["verify", "--name", NAME, *words]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_the_suite_has_each_case_and_both_versions_everywhere() -> None:
    assert {each.case for each in SUITE} == {"docker", "flannel", "linux"}
    assert {(each.outer, each.inner) for each in SUITE} == {(4, 4), (4, 6), (6, 4), (6, 6)}
    assert all(read_plan(Spec.parse(each.policy), [0, 1]) for each in SUITE)
