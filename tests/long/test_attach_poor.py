"""``overspray attach`` where a host is poorer than usual: fewer cores, another /sys, a useless bpffs."""

from pathlib import Path

import pytest
from attaching import attached, host_links, macs
from ground import WORKER_CORE

from bench import lab as labs
from bench.sink import Sink
from bench.traffic import Traffic
from bench.wire import Wire

pytestmark = pytest.mark.timeout(120)
N = 640
MOUNTED = 'mount --bind {file} {over} && exec "$@"'
BPFFS = 'mount -t bpf -o ro bpf /sys/fs/bpf && exec "$@"'


def mounts() -> list[str]:
    """But for namespaces: other runs have theirs."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if "/netns" not in line]


@pytest.mark.parametrize("how", ["allowed", "online", "netns exec", "bpffs read-only"])
def test_every_packet_on_the_one_core(how: str, tmp_path: Path) -> None:
    """CASES H09 and H14: only that core is used, nothing is lost, the host's mount table is as it was."""
    online = tmp_path / "online"
    online.write_text(f"{WORKER_CORE}\n")
    over = "/sys/devices/system/cpu/online"
    before = mounts()
    with labs.lab("docker", 2) as lab:
        prefix = {
            "allowed": ("taskset", "-c", str(WORKER_CORE)),
            "online": ("unshare", "-m", "sh", "-c", MOUNTED.format(file=online, over=over), "sh"),
            "netns exec": ("ip", "netns", "exec", lab.host_ns),
            "bpffs read-only": ("unshare", "-m", "sh", "-c", BPFFS, "sh"),
        }[how]
        links = host_links(lab)
        with (
            attached(lab, before=prefix) as running,
            Sink(lab) as sink,
            Wire(lab, Traffic(flows=2), WORKER_CORE) as wire,
        ):
            assert f"workers on cores {WORKER_CORE}" in running.await_line(lambda line: "attached" in line)
            running.await_serving(*macs(lab))
            wire.send_windowed(N, lambda: sink.delivered)
            counted = running.counted()
            assert (sink.delivered, counted["delivered"], counted["passed"]) == (N, N, 0)
        core = str(WORKER_CORE)
        assert (counted["local"], counted["done"]) == ({core: N // 2}, {core: N // 2})
        assert host_links(lab) == links
    assert mounts() == before
