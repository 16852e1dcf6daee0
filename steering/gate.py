"""What of an overlay is served: not the tunnels on whose way rules would be skipped, nor more than
the tables hold."""

from dataclasses import replace

from steering.overlay import Finding, Overlay, Tunnel, bypassed
from steering.room import crowded_out


class Gate:
    """Judges snapshots of an overlay. Rules come and go, so the same snapshot more than once.

    With ``bypass`` all rules are skipped. ``findings``, ``shut`` (tunnels, each with the first rule
    that would be skipped) and ``full`` (those without room) are of the last judgement.
    """

    def __init__(self, bypass: bool) -> None:
        self.findings: list[Finding] = []
        self.shut: dict[Tunnel, str] = {}
        self.full: dict[Tunnel, str] = {}
        self._bypass = bypass

    def passed(self, overlay: Overlay, own: frozenset[int] = frozenset()) -> Overlay:
        """The part that may be served. ``own`` are the ids of our programs on the NIC.

        Raises:
            OversprayError: a namespace of the overlay has just gone.
        """
        self.findings = bypassed(overlay, own)
        shut = {}
        if not self._bypass and _rules(self.findings):
            for tunnel in overlay.tunnels:
                if rules := _rules(bypassed(_only(overlay, {tunnel}), own)):
                    shut[tunnel] = rules[0]
        self.shut, self.full = shut, crowded_out(overlay, overlay.tunnels - shut.keys())
        out = self.left_out
        return _only(overlay, overlay.tunnels - out.keys()) if out else overlay

    @property
    def left_out(self) -> dict[Tunnel, str]:
        """Tunnels that are left to the stock path, and why."""
        return self.shut | self.full


def _rules(findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.severity == "rule"]


def _only(overlay: Overlay, tunnels: set[Tunnel] | frozenset[Tunnel]) -> Overlay:
    """The overlay of some of its tunnels."""
    networks = {(tunnel.vni, tunnel.port) for tunnel in tunnels}
    ends = {end for end in overlay.endpoints if (end.vni, end.port) in networks}
    return replace(overlay, tunnels=frozenset(tunnels), endpoints=frozenset(ends))
