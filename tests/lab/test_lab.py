"""The lab: what is in it, who may have one, and that nothing of it stays."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from commands import DYING_WITH_US, ROOT, overspray
from pyroute2 import IPRoute

from bench import lab as labs
from bench import lab_build
from bench.cli import run
from bench.lab import Lab
from bench.lab_plan import Plan
from steering import netns
from steering.errors import BadInput, OversprayError
from steering.owner import Owner
from steering.waiting import wait_for


def own(state: str) -> set[str]:
    return {each.name for each in labs.show() if each.state == state}


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def makes() -> Iterator[Callable[[str], str]]:
    """Namespaces that a test makes by hand; what is left of them goes at its end."""
    made: list[str] = []

    def make(name: str) -> str:
        netns.create(name)
        made.append(name)
        return name

    yield make
    for name in made:
        netns.remove(name)


@pytest.fixture
def up_name(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """`lab up` under a name of the tests: whoever has a lab up keeps it."""
    name = f"os-test{os.getpid()}"
    monkeypatch.setattr(labs, "_UP", name)
    yield name
    labs._remove(name)


def test_both_ends_are_ready_and_only_there(lab: Lab) -> None:
    for name, device, addresses in (
        (lab.wire_ns, lab.plan.wire, {lab.plan.wire_ip}),
        (lab.host_ns, lab.plan.nic, {lab.plan.nic_ip, "127.0.0.1"}),
    ):
        with netns.entered(name), IPRoute() as ip:
            devices = {link.get("ifname"): link for link in ip.get_links()}
            assert set(devices) == {"lo", device}
            assert devices[device].get("carrier") == 1
            assert devices[device].get("num_rx_queues") == lab.plan.queues
            assert {each.get("address") for each in ip.get_addr()} == addresses
    assert not {lab.plan.wire, lab.plan.nic} & {name for _, name in socket.if_nameindex()}


def test_it_is_silent(lab: Lab) -> None:
    for name, device in ((lab.wire_ns, lab.plan.wire), (lab.host_ns, lab.plan.nic)):
        with netns.entered(name):
            settings = Path("/proc/sys/net")
            for which in ("all", device):
                assert (settings / f"ipv4/conf/{which}/rp_filter").read_text() == "0\n"
            if (settings / "ipv6").exists():
                assert (settings / "ipv6/conf/all/disable_ipv6").read_text() == "1\n"
            with IPRoute() as ip:
                assert [each.get("state") for each in ip.get_neighbours(family=socket.AF_INET)] == [0x80]
                for link in ip.get_links():
                    counted = link.get("stats64")
                    assert counted["rx_packets"] == counted["tx_packets"] == 0


def test_ordinary_sockets_reach_each_other(lab: Lab) -> None:
    """The stock stack as witness that this is a network."""
    with netns.entered(lab.host_ns):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((lab.plan.nic_ip, 9999))
    with netns.entered(lab.wire_ns):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.settimeout(20)
        client.sendto(b"hello", (lab.plan.nic_ip, 9999))
        data, (address, _) = server.recvfrom(64)
    assert (data, address) == (b"hello", lab.plan.wire_ip)


def test_one_lab_at_a_time_and_the_second_is_told_whose(lab: Lab) -> None:
    with pytest.raises(OversprayError, match=f"in use by process {os.getpid()} "), labs.lab():
        pass
    done = overspray("wire", "bench", "--frames", "1", "--rounds", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"process {os.getpid()} " in done.stderr and done.stderr.count("\n") == 1


def test_show_tells_whose_it_is_and_who_is_inside(lab: Lab) -> None:
    with netns.entered(lab.wire_ns):
        inside = subprocess.Popen([*DYING_WITH_US, "sleep", "1000"])
    try:
        found = {each.name: each for each in labs.show()}
    finally:
        inside.kill()
        inside.wait()
    assert found[lab.wire_ns].state == found[lab.host_ns].state == "in use"
    assert found[lab.wire_ns].owner == os.getpid()
    assert found[lab.wire_ns].processes == [inside.pid]


def test_leftovers_of_a_killed_run_are_found_and_removed() -> None:
    process = subprocess.Popen(
        [*DYING_WITH_US, sys.executable, Path(__file__).with_name("victim.py")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        names = set(process.stdout.readline().split())
        assert len(names) == 2
        assert names <= own("in use")
        process.kill()
        # It is a zombie until somebody waits for it, and is dying for a moment before that.
        wait_for(lambda: names <= own("left over"), lambda: f"{names} to be left over: {labs.show()}")
    with labs.lab():
        assert not names & set(netns.names())


def test_only_what_a_dead_lab_made_is_removed(makes: Callable[[str], str]) -> None:
    me = Owner.me()
    dead = replace(me, pid=dead_pid())
    gone = [makes(f"os-{dead}-0-wire"), makes(f"os-{dead}-7-host")]
    # Its owner's id is in use again, by a process that started at another time.
    gone.append(makes(f"os-{replace(me, start=me.start + 1)}-0-wire"))
    us = f"test{os.getpid()}"
    kept = [
        makes(f"os-{dead}-0-{us}"),
        makes(f"os-{dead}-{us}"),
        makes(f"{us}-os-{dead}-0-wire"),
        makes(f"os-{me}-99-wire"),
        # Of a container's process, which may well live: from here it can't be seen.
        makes(f"os-{replace(dead, space=dead.space - 1)}-0-wire"),
    ]
    assert own("left over") >= set(gone)
    assert kept[-1] in own("unknown")
    with labs.lab():
        there = set(netns.names())
    assert not there & set(gone)
    assert there >= set(kept)


def test_a_bare_file_of_a_killed_maker_is_removed() -> None:
    name = f"os-{replace(Owner.me(), pid=dead_pid())}-0-wire"
    (netns.RUN / name).touch()
    assert name in own("left over")
    with labs.lab():
        assert name not in netns.names()


@pytest.mark.parametrize("part", ["_silence", "_veth", "_settle"])
def test_a_failure_on_the_way_leaves_nothing(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OversprayError("planned")

    monkeypatch.setattr(lab_build, part, fail)
    with pytest.raises(OversprayError, match="planned"), labs.lab():
        pass


def test_what_the_kernel_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labs, "Plan", lambda *_: Plan(nic="n" * 40))
    with (
        pytest.raises(OversprayError, match="the kernel refused a part of the lab: "),
        labs.lab(),
    ):
        pass


def test_an_unknown_case_changes_nothing() -> None:
    with pytest.raises(BadInput, match="unknown case 'moon': choose from docker, fl"), labs.lab("moon"):
        pass


def test_up_show_down(up_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> object:
        assert run(["lab", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    made = said("up")
    assert (made["wire_ns"], made["host_ns"]) == (f"{up_name}-wire", f"{up_name}-host")
    assert own("up") == {f"{up_name}-wire", f"{up_name}-host"}
    assert run(["lab", "up"]) == 1
    assert "'overspray lab down' removes it" in capsys.readouterr().err
    assert {each["state"] for each in said("show") if each["name"].startswith(up_name)} == {"up"}
    with labs.lab():  # those that measure have labs of their own
        assert own("up") == {f"{up_name}-wire", f"{up_name}-host"}
    assert set(said("down")["removed"]) >= {f"{up_name}-wire", f"{up_name}-host"}
    assert said("down")["removed"] == []


def test_a_half_made_up_is_left_over_and_goes(up_name: str, makes: Callable[[str], str]) -> None:
    half = makes(f"{up_name}-host")
    assert half in own("left over")
    with labs.lab():
        assert half not in netns.names()


def test_a_lab_that_is_used_by_hand_can_be_taken_down(up_name: str) -> None:
    """The namespace goes when the last process inside ends; its name goes at once."""
    assert run(["lab", "up"]) == 0
    with netns.entered(f"{up_name}-host"):
        inside = subprocess.Popen([*DYING_WITH_US, "sleep", "1000"])
    try:
        assert set(labs.down()) >= {f"{up_name}-host", f"{up_name}-wire"}
        assert up_name not in " ".join(netns.names())
    finally:
        inside.kill()
        inside.wait()
