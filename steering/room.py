"""Which tunnels the datapath's tables have room for; the rest is left to the stock path."""

from collections.abc import Iterable

from steering.layout import header
from steering.overlay import Overlay, Tunnel


def crowded_out(overlay: Overlay, tunnels: Iterable[Tunnel]) -> dict[Tunnel, str]:
    """The tunnels that find no room, each with the reason; those of low VNIs come first.

    Of a tunnel that is served all rows are there: without its senders' forged ones would pass.
    """
    sizes = header("maps.h").constants
    # Row 0 of a table stays empty: it is what a new flow's hints point to.
    ways, senders = sizes["MAX_TUNNELS"] - 1, sizes["MAX_SENDERS"] - 1
    full = {}
    for tunnel in sorted(tunnels, key=lambda each: (each.vni, each.port)):
        needs = _ways(overlay, tunnel), len(tunnel.fixed_macs)
        if needs[0] > ways or needs[1] > senders:
            full[tunnel] = (
                f"no room in the tables for its {needs[0]} pairs of VTEPs and "
                f"{needs[1]} fixed senders"
            )
            continue
        ways, senders = ways - needs[0], senders - needs[1]
    return full


def _ways(overlay: Overlay, tunnel: Tunnel) -> int:
    """How many rows its outer headers take (:func:`steering.routes.tunnel_keys`)."""
    own = overlay.own_addresses(tunnel)
    six = len([address for address in own if ":" in address])
    far_six = len([address for address in tunnel.remotes if ":" in address])
    four, far_four = len(own) - six, len(tunnel.remotes) - far_six
    return four * far_four + six * far_six * (2 if tunnel.zero_checksum6 else 1)
