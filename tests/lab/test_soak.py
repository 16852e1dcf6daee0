"""A soak in short; `make soak` takes ten minutes."""

from pathlib import Path

import pytest

from bench.cli import run as overspray
from bench.soak import SoakSpec, soak
from bench.soak_watch import _TROUBLE, KernelLog
from steering.errors import OversprayError

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_every_packet_is_accounted_for(host_as_found: None) -> None:
    spec = SoakSpec(
        seconds=6, rate=20_000, containers=4, round_seconds=1.5, swaps=15, cycles=3, name="tlab"
    )
    found = soak(spec)
    assert found.packets > 50_000
    # A busy machine polls the lab's NIC too late at times: nothing but that may lose a packet.
    assert (found.lost, found.unaccounted, found.misdelivered, found.doubled) == (0, 0, 0, 0)
    assert found.strays == 0
    for event in ("swaps", "knobs", "containers", "links"):
        assert found.events[event] > 0
    assert found.kernel == []
    facts = found.as_dict()
    assert facts["memory"]["maps"]["last"] > 0
    assert facts["latency_ns"]["last"]["p50"] > 0


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        ("WARNING: CPU: 1 PID: 2 at net/core/dev.c:1 netif_rx+0x0", True),
        ("unregister_netdevice: waiting for veth0 to become free", True),
        ("rcu: INFO: rcu_preempt self-detected stall on CPU", True),
        ("vxlan0: renamed from tmp", False),
    ],
)
def test_what_the_kernel_complains_of(line: str, trouble: bool) -> None:
    assert bool(_TROUBLE.search(line)) is trouble


def test_a_log_that_can_not_be_read_is_no_silence(tmp_path: Path) -> None:
    with pytest.raises(OversprayError, match="No such file"):
        KernelLog(tmp_path / "kmsg")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--keep", "/nowhere/soak.json"], "no file can be made in '/nowhere'"),
        (["--for", "ever"], "a time is wanted"),
    ],
)
def test_bad_input(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert overspray(["soak", *words]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
