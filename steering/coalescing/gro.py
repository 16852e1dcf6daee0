"""Generic receive offload: where packets of a flow are gathered, and in which form."""

from collections.abc import Mapping

from steering.settings import Feature, Setting, Value
from steering.target import Apply, Stock, StockTarget, chosen, stage_knobs
from steering.undo import Changes


def _features(name: str, wanted: Mapping[str, bool]) -> Apply:
    """Sets these features on the chosen devices."""

    def apply(target: StockTarget, values: Mapping[str, int], changes: Changes) -> None:
        for place in chosen(target, values, name):
            settings: dict[Setting, Value] = {
                Feature(place.device, feature): on for feature, on in wanted.items()
            }
            changes.set(place.ns, settings)

    return apply


GRO = Stock(
    "gro",
    "GRO on; on a container's veth, where it is off by default, this also turns NAPI on",
    _features("gro", {"rx-gro": True}),
    stage_knobs(nic=1, tunnel=1, container=1),
)
GRO_OFF = Stock(
    "gro-off",
    "GRO off; a veth without it (and without an XDP program) has no NAPI either",
    _features("gro-off", {"rx-gro": False}),
    stage_knobs(nic=1, tunnel=1, container=1),
)
# At the NIC the inner packets are gathered, through the tunnel's header: the later stages see
# one packet then, and turning it on there as well changes nothing.
GRO_LIST = Stock(
    "gro-list",
    "GRO of UDP into lists of packets (rx-gro-list), split again at the socket",
    _features("gro-list", {"rx-gro": True, "rx-gro-list": True}),
    stage_knobs(nic=1, tunnel=0, container=0),
)
UDP_FORWARD = Stock(
    "udp-forward",
    "GRO of UDP into one packet also where no socket asked (rx-udp-gro-forwarding)",
    _features("udp-forward", {"rx-gro": True, "rx-udp-gro-forwarding": True}),
    stage_knobs(nic=1, tunnel=0, container=0),
)
