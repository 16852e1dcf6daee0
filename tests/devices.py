"""What stock settings can change of a lab's devices, and what it is where they are off."""

from pathlib import Path

from pyroute2 import IPRoute

from steering import netns, sysfs
from steering.settings import Feature, Sysctl
from steering.target import Place, Target

ROOM = Sysctl("net/core/somaxconn")
"""A sysctl of each namespace, which nothing here depends on."""
FEATURES = ("rx-gro", "rx-gro-list", "rx-udp-gro-forwarding")
DEVICES = ("nic0", "vxlan0", "eth0")
OFF = {
    **{f"{device} {file}": "0" for device in DEVICES for file in ("rps_cpus", "rps_flow_cnt")},
    **{f"nic0 {name}": "off" for name in FEATURES},
    **{f"nic0 {name}": "0" for name in ("threaded", "gro_flush_timeout", "napi_defer_hard_irqs")},
}


def state(target: Target) -> dict[str, str]:
    """All that stock settings could change, raw: each queue by itself, each sysctl as its file has it."""
    found: dict[str, str] = {}
    for place in (target.nic, target.tunnels[0].place, *(endpoint.own for endpoint in target.endpoints)):
        with netns.entered(place.ns):
            for name in (*FEATURES, "tx-checksum-ip-generic", "tx-tcp-segmentation"):
                found[f"{place} {name}"] = Feature(place.device, name).read()
            for path in (ROOM.path, *sorted(Path("/proc/sys/net/bridge").glob("*"))):
                found[f"{place.ns} {path}"] = path.read_text()
            with sysfs.opened() as root:
                files = [
                    f"queues/rx-{queue}/rps_{file}"
                    for queue in range(queues(place))
                    for file in ("cpus", "flow_cnt")
                ]
                for file in (*files, "threaded", "gro_flush_timeout", "napi_defer_hard_irqs"):
                    found[f"{place} {file}"] = sysfs.read(root, f"class/net/{place.device}/{file}")
    return found


def queues(place: Place) -> int:
    with netns.entered(place.ns), IPRoute() as ip:
        [link] = ip.get_links(netns.index(place.device))
        return int(link.get("num_rx_queues"))
