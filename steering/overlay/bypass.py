"""What the fast path would skip: filters, shapers and captures between the NIC and a container.

The stock path takes a packet through the NIC's namespace (outer headers: XDP comes before all of
it), then through the tunnel's namespace (inner headers: the bridge's hooks and, with bridge
netfilter, IP's). In the container's namespace nothing is skipped.
"""

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from steering.netns import entered
from steering.overlay.hooks import EGRESS, INGRESS, captures, traffic_control
from steering.overlay.ipsec import inbound_policies
from steering.overlay.model import Overlay, same_family
from steering.overlay.namespaces import HeldNamespace
from steering.overlay.netlink import Netlink, NetlinkError
from steering.overlay.nft import read_nftables
from steering.overlay.ruleset import Hook, Ruleset, Sample, Severity
from steering.overlay.view import Link, read_links
from steering.overlay.xtables import read_xtables

_PREROUTING, _INPUT, _FORWARD, _POSTROUTING = 0, 1, 2, 4
_DEVICE_INGRESS, _DEVICE_EGRESS, _INET_INGRESS = 0, 1, 5
_UDP = 17
_ETHERTYPE = {4: b"\x08\x00", 6: b"\x86\xdd"}
_NFPROTO = {4: b"\x02", 6: b"\x0a"}
_FAMILY = {4: "ip", 6: "ip6"}


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that the fast path skips.

    ``rule``: it might have changed a packet's fate, so attaching is refused without ``--bypass``.
    ``note``: it only looked (a counter, a log, a capture) and will see less.
    """

    severity: Severity
    text: str

    def __str__(self) -> str:
        return self.text


def bypassed(overlay: Overlay, own: frozenset[int] = frozenset()) -> list[Finding]:
    """What stands between the NIC and the containers and would be skipped, ``rule`` first.

    ``own`` are the ids of BPF programs that are ours.

    Raises:
        OversprayError: a namespace of the overlay is gone, or not ours to look into.
    """
    found: dict[Finding, None] = {}
    if not overlay.tunnels:
        return []
    for ns in {overlay.nic_ns, *(tunnel.ns for tunnel in overlay.tunnels)}:
        place = _Place(overlay, ns, own)
        for severity, text in place.findings():
            found.setdefault(Finding(severity, f"{text}, in '{ns}'"))
    return sorted(found, key=lambda finding: (finding.severity != "rule", finding.text))


class _Place:
    """One namespace on the way: the NIC's, a tunnel's, or both in one."""

    def __init__(self, overlay: Overlay, ns: HeldNamespace, own: frozenset[int]) -> None:
        self._overlay = overlay
        self._ns = ns
        self._own = own
        self._has_nic = ns == overlay.nic_ns
        # Without a bridge the fast path hands over on the tunnel device itself, ahead of its tc.
        self._tunnels = [each for each in overlay.tunnels if each.ns == ns and each.bridge]
        self._ends = [end for end in overlay.endpoints if end.host_ns == ns]
        with Netlink(ns) as netlink:
            self._links = read_links(netlink)

    def findings(self) -> Iterator[tuple[Severity, str]]:
        for ruleset in self._rulesets():
            for hook in ruleset.hooks:
                yield from ruleset.findings(hook, self._samples(hook))
        yield from self._on_devices()
        if self._has_nic and (count := inbound_policies(self._ns)):
            yield "rule", f"IPsec: {count} inbound policies"

    def _rulesets(self) -> Iterator[Ruleset]:
        for read in (read_nftables, read_xtables):
            try:
                yield read(self._ns)
            except NetlinkError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
                continue  # this kernel has none of it
            except OSError:
                continue

    def _samples(self, hook: Hook) -> list[Sample]:
        """The packets that would have come by a hook; none where it is not on the way."""
        samples: list[Sample] = []
        if self._has_nic and self._outer_passes(hook):
            samples += self._outer()
        if self._tunnels and (kind := self._inner_passes(hook)):
            samples += self._inner(kind)
        # An IPv4 hook sees no IPv6, and the other way round.
        version = {"ip": 4, "ip6": 6}.get(hook.family)
        wanted = None if version is None else list(_NFPROTO[version])
        return [each for each in samples if wanted in (None, each.read("nfproto", 0, 1))]

    def _outer_passes(self, hook: Hook) -> bool:
        if hook.family in ("ip", "ip6", "inet") and hook.number in (_PREROUTING, _INPUT):
            return True
        return _is_ingress(hook) and self._overlay.nic in hook.devices

    def _inner_passes(self, hook: Hook) -> str:
        """``port`` or ``bridge``: as whose packet an inner one is seen there; empty: not seen."""
        if hook.family == "bridge":
            return "port" if hook.number in (_PREROUTING, _FORWARD, _POSTROUTING) else ""
        if hook.family in ("netdev", "inet") and hook.devices:
            ingress = {tunnel.device for tunnel in self._tunnels}
            egress = {end.host_device for end in self._ends if end.kind == "veth"}
            out = hook.family == "netdev" and hook.number == _DEVICE_EGRESS
            on_way = egress if out else ingress if _is_ingress(hook) else set()
            return "port" if on_way & hook.devices else ""
        if hook.family not in ("ip", "ip6", "inet"):
            return ""
        passes = hook.number in (_PREROUTING, _FORWARD, _POSTROUTING)
        return "bridge" if passes and self._bridge_netfilter(hook.family) else ""

    def _bridge_netfilter(self, family: str) -> bool:
        """Whether bridged packets go through IP's hooks here: of all bridges, or of one of them."""
        own = (self._links.get(tunnel.bridge_ifindex) for tunnel in self._tunnels)
        if any(link is not None and link.bridge and link.bridge.calls_iptables for link in own):
            return True
        names = {"ip": ["iptables"], "ip6": ["ip6tables"]}.get(family, ["iptables", "ip6tables"])
        with entered(self._ns.path):
            files = [Path("/proc/sys/net/bridge", f"bridge-nf-call-{name}") for name in names]
            return any(file.exists() and file.read_text().strip() != "0" for file in files)

    def _outer(self) -> Iterator[Sample]:
        """What a VXLAN packet looks like in the NIC's namespace, for each known sender."""
        nic = self._links.get(self._overlay.nic_ifindex)
        # The packets of a bond's or bridge's part come in on the whole.
        device = self._links.get(nic.master, nic) if nic is not None else None
        facts = {"iifname": _name(device.name)} if device is not None else {}
        for tunnel in self._overlay.tunnels:
            for local in sorted(self._overlay.own_addresses(tunnel)):
                for remote in sorted(tunnel.remotes):
                    if same_family(local, remote):
                        yield _vxlan_packet(remote, local, tunnel.port, facts)

    def _inner(self, kind: str) -> Iterator[Sample]:
        """What is known of a decapsulated packet: hardly more than that it is IP."""
        for tunnel in self._tunnels:
            device = _name(tunnel.bridge or "")
            facts = {"iifname": device, "oifname": device}
            if kind == "port":
                facts = {"iifname": _name(tunnel.device)}
            for version in (4, 6):
                yield Sample({"link": _link_header(version), **_protocol(version), **facts})

    def _on_devices(self) -> Iterator[tuple[Severity, str]]:
        """tc, XDP and captures on the devices that a packet would have come by."""
        watched: dict[int, Link] = {}
        with Netlink(self._ns) as netlink, entered(self._ns.path):
            for index, direction in self._devices():
                link = self._links.get(index)
                if link is None:
                    continue
                watched[index] = link
                for text in traffic_control(netlink, link, direction, self._own):
                    yield "rule", text
                if link.xdp and direction == INGRESS and index != self._overlay.nic_ifindex:
                    yield "rule", f"XDP program on {link.name}"
        for text in captures(self._ns, list(watched.values())):
            yield "note", text

    def _devices(self) -> Iterator[tuple[int, str]]:
        """(ifindex, direction) of the devices of this namespace that a packet would have passed."""
        if self._has_nic:
            yield self._overlay.nic_ifindex, INGRESS
        for tunnel in self._tunnels:
            yield tunnel.ifindex, INGRESS
        for end in self._ends:
            if end.kind == "veth":
                yield end.host_ifindex, EGRESS


def _is_ingress(hook: Hook) -> bool:
    wanted = {"netdev": _DEVICE_INGRESS, "inet": _INET_INGRESS}.get(hook.family)
    return hook.number == wanted


def _vxlan_packet(source: str, destination: str, port: int, facts: dict[str, bytes]) -> Sample:
    version = 6 if ":" in source else 4
    source_bytes, destination_bytes = ip_address(source).packed, ip_address(destination).packed
    network: list[int | None] = [None] * (12 if version == 4 else 8)
    network[9 if version == 4 else 6] = _UDP
    transport = [None, None, *struct.pack("!H", port)]
    parts = {
        "link": _link_header(version),
        "network": [*network, *source_bytes, *destination_bytes],
        "transport": transport,
        "l4proto": bytes([_UDP]),
        **_protocol(version),
        **facts,
    }
    return Sample(parts)


def _link_header(version: int) -> list[int | None]:
    return [*[None] * 12, *_ETHERTYPE[version]]


def _protocol(version: int) -> dict[str, bytes]:
    return {"nfproto": _NFPROTO[version], "ethertype": _ETHERTYPE[version]}


def _name(device: str) -> bytes:
    return device.encode().ljust(16, b"\0")
