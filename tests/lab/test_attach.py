"""The commands: attach, status, swap, set, detach, on a lab and on what is wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from attached import ATT, Shop, forked, missing, plan, snapshot, sockets_of, traffic, until
from pyroute2 import IPRoute

import bench.cli
from bench import lab as labs
from bench.lab_plan import Lab
from bench.sinks import CountSink
from bench.wire import Wire
from steering import bpf, control, controller, netns
from steering.bpf import returning

pytestmark = [pytest.mark.root, pytest.mark.slow]
ATTACH = ("attach", "nic0", "--cpus", "1", "--detached")
MAIN = "from bench.cli import main; main()"
BROKEN = """\
struct policy_flow { int none; };
struct policy_core { int none; };
static inline int policy_slot(this is no C) { }
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with labs.held(labs.LabSpec("docker", ATT, containers=2)) as made:
        yield made


@pytest.fixture(autouse=True)
def as_found(lab: Lab) -> Iterator[None]:
    before = snapshot(lab)
    yield
    for address in control.listed():
        if address.inode == netns.identity(lab.host_ns):
            control.ask(address, {"do": "detach"}, None)
    # A controller forked from here has inherited this test's own links, and lives on for a moment.
    with suppress(AssertionError):
        until(lambda: snapshot(lab) == before, seconds=2)
    assert snapshot(lab) == before
    assert not sockets_of(lab)


Command = Callable[..., str]


def outside(*words: str, code: int = 0) -> str:
    """One command; its stdout, or its one line on stderr where it has to fail."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *words], capture_output=True, text=True, timeout=100
    )
    return judged(done.returncode, done.stdout, done.stderr, code)


def judged(returned: int | None, out: str, err: str, code: int) -> str:
    assert returned == code, err
    if code:
        assert out == ""
    return err if code else out


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    names = ("local", "local:deliver=veth", "pin")
    with Shop(*(plan(name) for name in names)) as made:
        yield made


@pytest.fixture(scope="module")
def overspray(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """As :func:`outside`, but in a fork with everything imported and compiled: in no time."""
    folder = tmp_path_factory.mktemp("words")

    def command(*words: str, code: int = 0) -> str:
        def body() -> None:
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            shop.open()
            try:
                code = bench.cli.run(words)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
            sys.exit(code)

        process = forked(body)
        process.join()  # with a timeout it would wait for its children too
        out, err = ((folder / name).read_text() for name in ("out", "err"))
        return judged(process.exitcode, out, err, code)

    return command


def one_line(text: str) -> str:
    assert text.startswith("overspray: ")
    assert text.count("\n") == 1
    return text


@pytest.fixture
def attach(lab: Lab, overspray: Command) -> Command:
    """Attach to the lab's NIC, in the background."""

    def command(*words: str, code: int = 0) -> str:
        here = ("--netns", lab.host_ns, "--cpus", "1", "--detached")
        return overspray("attach", lab.nic, *here, *words, code=code)

    return command


def status(lab: Lab) -> dict[str, Any]:
    """What the lab's controller says."""
    facts: dict[str, Any] = control.ask(address_of(lab), {"do": "status"})
    return facts


def address_of(lab: Lab) -> control.Address:
    return control.Address.of(lab.host_ns, lab.nic)


def macs(lab: Lab) -> set[str]:
    return {end["mac"] for end in status(lab)["endpoints"]}


@contextmanager
def device(ns: str, name: str) -> Iterator[tuple[IPRoute, int]]:
    with netns.entered(ns), IPRoute() as route:
        yield route, int(route.link_lookup(ifname=name)[0])


@contextmanager
def running(lab: Lab, shop: Shop) -> Iterator[Any]:
    """A controller in a process of its own."""
    ready, go = os.pipe()

    def body() -> None:
        shop.open()
        wanted = controller.Wish(lab.nic, lab.host_ns, shop.plans[0])

        def up(one: controller.Controller) -> None:
            signal.signal(signal.SIGTERM, lambda *_: one.stop())
            os.write(go, b"1")

        controller.run(wanted, up)

    process = forked(body)
    try:
        assert os.read(ready, 1) == b"1"
        yield process
    finally:
        process.terminate()
        process.join()
        os.close(ready)
        os.close(go)


def test_attach_change_and_detach(lab: Lab, tmp_path: Path) -> None:
    before = snapshot(lab)
    served = json.loads(
        outside(*ATTACH, "--netns", lab.host_ns, "--policy", "flowcell:cell=4,local=50", "--json")
    )
    assert served["policy"] == "flowcell:cell=4,local=50"
    assert {end["mac"] for end in served["endpoints"]} == {end.mac for end in lab.endpoints}
    assert served["tunnels"][0]["remotes"] == [lab.remote_vtep_ip]
    assert snapshot(lab) != before

    (tmp_path / "policy.h").write_text(BROKEN)
    mine = Path("steering/policies/local/policy.py").read_text()
    (tmp_path / "policy.py").write_text(mine)
    with Wire(lab) as wire, CountSink(lab) as sink:
        with traffic(wire, sink, 5000, flows=2):
            assert "cell=8" in outside("set", lab.nic, "cell=8")
            outside("swap", lab.nic, "pin")
            error = one_line(outside("swap", lab.nic, f"@{tmp_path}", code=2))
            assert re.search(r"policy\.h:\d+: ", error)
            assert status(lab)["policy"].startswith("pin")
        offered, lost = wire.offered().sent, missing(wire, sink)
    (facts,) = json.loads(outside("status", lab.nic, "--json"))["controllers"]
    seen = facts["counters"]["steer"]["seen"]
    assert seen == {"count": offered, "meaning": "frames that arrived on the NIC"}
    assert lost == sum(facts["dropped"].values())
    assert facts["passed"] == {}
    words = outside("status")
    assert re.search(r"steer seen +\d+  frames that arrived on the NIC", words)
    assert lab.endpoints[1].ip in words

    assert "detached" in outside("detach", lab.nic)
    assert snapshot(lab) == before
    assert "is not attached" in one_line(outside("detach", lab.nic, code=2))


def test_one_controller_a_device(lab: Lab, attach: Command) -> None:
    attach("--policy", "local")
    assert "is attached already" in one_line(attach("--policy", "pin", code=1))
    assert status(lab)["policy"] == "local"


def test_killed_and_found_by_the_next_command(lab: Lab) -> None:
    before = snapshot(lab)
    with Wire(lab) as wire, CountSink(lab) as sink:
        with traffic(wire, sink):
            words = (*ATTACH, "--netns", lab.host_ns, "--policy", "local", "--json")
            os.kill(json.loads(outside(*words))["pid"], signal.SIGKILL)
            count = sink.counts().delivered
            until(lambda: sink.counts().delivered > count + 1000, seconds=2)
            assert "controller was killed" in outside("status")
            assert snapshot(lab) == before
        assert missing(wire, sink) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--policy", "nonsense"], "unknown policy 'nonsense'"),
        (["--policy", "local:cell=1"], "unknown knob"),
        (["--policy", "backlog:cell=0"], "out of range"),
        (["--policy", "local:mask=2"], "--cpus"),
        (["--policy", "@/nowhere"], "no policy in '/nowhere'"),
        (["--deliver", "mail"], "unknown delivery 'mail'"),
        (["--cpus", "4096"], "core 4096 does not exist"),
        (["--cpus", "1,1"], "each core once"),
    ],
)
def test_bad_input_changes_nothing(lab: Lab, attach: Command, words: list[str], says: str) -> None:
    assert says in one_line(attach(*words, code=2))


def test_what_is_not_there(lab: Lab, overspray: Command) -> None:
    assert "no device 'nic7'" in one_line(
        overspray("attach", "nic7", "--netns", lab.host_ns, "--cpus", "1", code=2)
    )
    assert "no network namespace" in one_line(
        overspray("attach", "nic0", "--netns", "nowhere", "--cpus", "1", code=1)
    )
    for words in (["swap", "nic7", "local"], ["set", "nic7", "cell=1"], ["status", "nic7"]):
        assert "is not attached" in one_line(overspray(*words, code=2))


def test_a_foreign_program_is_left_alone(lab: Lab, attach: Command) -> None:
    program = bpf.prog_load(returning(2), bpf.PROG_TYPE_XDP)
    with device(lab.host_ns, lab.nic) as (_, index):
        link = bpf.link_create(program, index, bpf.ATTACH_XDP, bpf.XDP_FLAGS_DRV_MODE)
    os.close(program)
    try:
        assert "an XDP program already" in one_line(attach(code=1))
    finally:
        os.close(link)


@contextmanager
def rule_on_the_tunnel(lab: Lab) -> Iterator[None]:
    """A tc program that passes everything; nobody can know that."""
    assert lab.tunnel_ns is not None
    program = bpf.prog_load(returning(-1), bpf.PROG_TYPE_SCHED_CLS)
    with device(lab.tunnel_ns, lab.tunnel) as (_, index):
        link = bpf.link_create(program, index, bpf.ATTACH_TCX_INGRESS)
    os.close(program)
    try:
        yield
    finally:
        os.close(link)


def test_rules_are_skipped_only_when_asked(lab: Lab, attach: Command) -> None:
    with rule_on_the_tunnel(lab):
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "attach", lab.nic, "--netns", lab.host_ns, "--cpus", "1"],
            capture_output=True,
            text=True,
        )
        *found, error = done.stderr.splitlines()
        assert done.returncode == 1
        assert any("tc ingress program on vxlan0" in line for line in found)
        assert "--bypass" in error
        attach("--policy", "local", "--bypass")
        facts = status(lab)
        assert any("tc ingress program" in text for text in facts["bypassed"])
        assert sorted(end["number"] for end in facts["endpoints"]) == [0, 1]


def test_a_rule_that_comes_later_shuts_its_tunnel(
    lab: Lab, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "_LOOK_AGAIN", 0.1)
    with running(lab, shop):
        assert len(macs(lab)) == 2
        with rule_on_the_tunnel(lab):
            until(lambda: macs(lab) == set())
            (shut,) = status(lab)["not_served"]
            assert "tc ingress program" in shut["reason"]
        until(lambda: len(macs(lab)) == 2)


def test_containers_come_and_go(lab: Lab, attach: Command, overspray: Command) -> None:
    """With what attaching changes on them: their queues, and NAPI."""
    first, second = lab.endpoints
    with device(second.host_netns, second.host_device) as (route, index):
        route.link("set", index=index, state="down")
    before = snapshot(lab)
    attach("--policy", "local", "--deliver", "veth")
    assert macs(lab) == {first.mac}
    with device(second.host_netns, second.host_device) as (route, index):
        route.link("set", index=index, state="up")
    until(lambda: macs(lab) == {first.mac, second.mac})
    with Wire(lab) as wire, CountSink(lab) as sink:
        with traffic(wire, sink, flows=2):
            time.sleep(0.2)
        sent = wire.offered().sent
        assert missing_of(sink, sent) == 0
        assert status(lab)["counters"]["steer"]["local"]["count"] == sent
    with device(second.host_netns, second.host_device) as (route, index):
        route.link("set", index=index, state="down")
    until(lambda: macs(lab) == {first.mac})
    overspray("detach", lab.nic)
    assert snapshot(lab) == before
    with device(second.host_netns, second.host_device) as (route, index):
        route.link("set", index=index, state="up")


def missing_of(sink: CountSink, sent: int) -> int:
    return sent - sink.counts().delivered


def test_the_end_of_the_device_is_the_end(lab: Lab, shop: Shop) -> None:
    with labs.held(labs.LabSpec("flannel", ATT)) as other:
        with running(other, shop) as process:
            with device(other.host_ns, other.nic) as (route, index):
                route.link("del", index=index)
            process.join(10)
            assert process.exitcode == 1
        assert not sockets_of(other)


def test_two_devices_of_one_name(lab: Lab, shop: Shop, overspray: Command) -> None:
    with labs.held(labs.LabSpec("flannel", ATT)) as other:
        before = snapshot(other)
        with running(lab, shop), running(other, shop):
            assert "--netns" in one_line(overspray("swap", "nic0", "pin", code=2))
            overspray("swap", "nic0", "pin", "--netns", other.host_ns)
            assert (status(lab)["policy"], status(other)["policy"][:3]) == ("local", "pin")
            gone = json.loads(overspray("detach", "--all", "--json"))["detached"]
            assert {each["netns"] for each in gone} >= {lab.host_ns, other.host_ns}
        assert snapshot(other) == before


def test_entries_of_bypassed_senders_are_kept(lab: Lab, shop: Shop) -> None:
    """A learned entry of the bridge would age: after two seconds here, in stock after 300."""
    ns, mac = lab.endpoints[0].host_netns, lab.endpoints[0].peer_mac

    def known() -> bool:
        with device(ns, lab.tunnel) as (route, index):
            entries = route.get_neighbours(family=7, ifindex=index)
            return any(
                e.get_attr("NDA_LLADDR") == mac and e.get_attr("NDA_MASTER") for e in entries
            )

    with device(ns, lab.bridge) as (route, index):
        route.link("set", index=index, kind="bridge", br_ageing_time=200)
    with device(ns, lab.tunnel) as (route, index):
        route.fdb("del", ifindex=index, lladdr=mac, flags=2 | 4)
        # Not `fdb`, which makes every entry a static one.
        route.neigh("add", family=7, ifindex=index, lladdr=mac, flags=4, state="reachable")
    with running(lab, shop):
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert known()
            time.sleep(0.1)
    until(lambda: not known())
    with device(ns, lab.bridge) as (route, index):
        route.link("set", index=index, kind="bridge", br_ageing_time=30000)
    with device(ns, lab.tunnel) as (route, index):
        route.fdb("replace", ifindex=index, lladdr=mac, flags=4, state=0x40)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_order(lab: Lab, number: signal.Signals) -> None:
    with foreground(lab) as process:
        process.send_signal(number)
        assert process.wait(20) == 0


@contextmanager
def foreground(lab: Lab) -> "Iterator[subprocess.Popen[str]]":
    words = ["attach", lab.nic, "--netns", lab.host_ns, "--cpus", "1", "--policy", "local"]
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert "attached" in process.stdout.readline()
            until(lambda: Path(f"/proc/{process.pid}").exists())
            yield process
        finally:
            process.kill()
