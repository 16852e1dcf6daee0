"""``overspray wire bench`` as a person types it."""

import json
import signal
import subprocess

import pytest
from commands import ROOT, command, here, overspray

from bench.traffic import Traffic
from steering import cores, netns

FEW = ("--frames", "1000", "--rounds", "1")


def own(pid: int) -> list[str]:
    return [name for name in netns.names() if name.startswith(f"os-{pid}-")]


def test_its_report_adds_up() -> None:
    core = cores.usable()[-1]
    done = overspray(
        *("wire", "bench", "--frames", "5003", "--rounds", "3", "--core", str(core), "--json"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["traffic"] == Traffic().as_dict()
    assert report["host"]["allowed"] == cores.usable()
    assert len(report["rounds"]) == 3
    for each in report["rounds"]:
        assert each["sent"] == 5003
        assert each["seen"] + sum(each["drops"].values()) == 5003
        assert each["seen_by_core"] == {str(core): each["seen"]}
        assert each["rate"] == each["seen"] / each["seconds"]
    rates = sorted(each["rate"] for each in report["rounds"])
    assert report["rate"] == {"low": rates[0], "median": rates[1], "high": rates[2]}


def test_a_person_reads_the_rate_and_the_books() -> None:
    done = overspray("wire", "bench", "--frames", "1000", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    assert "Mpps, median of 2 rounds" in done.stdout
    counted = {line.split()[1]: int(line.split()[0]) for line in done.stdout.splitlines()[-3:]}
    assert counted.keys() == {"frames", "drop_ring", "drop_refused"}
    assert sum(counted.values()) == 2000
    assert done.stderr.count("round ") == 2


def test_in_a_tunnel_over_ipv6() -> None:
    """In this process: what the options become is asked, not how a process ends."""
    done = here(*("wire", "bench", "--case", "flannel", "--ip", "6", "--outer-ip", "6"), *FEW, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["case"], report["ip"], report["outer_ip"]) == ("flannel", 6, 6)
    [once] = report["rounds"]
    assert once["seen"] + sum(once["drops"].values()) == once["sent"] == 1000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--case swarm", "unknown case 'swarm': choose from docker, flannel"),
        ("--ip 5", "IP version 5: choose 4 or 6"),
        ("--outer-ip 6", "case 'native' has no tunnel: leave the outer IP version out"),
        ("--case flannel --payload 1500", "1500"),
    ],
)
def test_bad_input_makes_no_lab(arguments: str, told: str) -> None:
    done = here("wire", "bench", *arguments.split(), *FEW)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_broken_off_it_leaves_nothing(number: signal.Signals, code: int) -> None:
    line = command("wire", "bench", "--frames", "10000", "--rounds", "1000000")
    with subprocess.Popen(
        line, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "round 1/" in process.stderr.readline()
        assert len(own(process.pid)) == 2
        process.send_signal(number)
        out, _ = process.communicate(timeout=40)
    assert process.returncode == code
    assert out == ""
    assert own(process.pid) == []
