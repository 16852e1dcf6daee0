"""What is behind a NIC: VXLAN tunnels and the containers they lead to, found by netlink alone.

:func:`discovered` takes one look, :class:`Watch` follows; both give :class:`Overlay` snapshots.
:func:`bypassed` says what a fast path would skip, :func:`refresh` keeps alive what it starves.
"""

from steering.overlay.bypass import Finding, bypassed
from steering.overlay.discover import discovered
from steering.overlay.model import Endpoint, Overlay, Tunnel
from steering.overlay.namespaces import HeldNamespace
from steering.overlay.refresh import period, refresh
from steering.overlay.watch import Watch

__all__ = [
    "Endpoint",
    "Finding",
    "HeldNamespace",
    "Overlay",
    "Tunnel",
    "Watch",
    "bypassed",
    "discovered",
    "period",
    "refresh",
]
