"""What is to be attached: a policy with its knobs, workers and delivery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from steering import cores
from steering.errors import BadInput, unknown
from steering.knobs import Knob, cores_knob, read_knobs
from steering.layout import header
from steering.policy import Policy, find
from steering.spec import Spec

MOST_WORKERS = header("policy.h").constants["MAX_WORKERS"]
QUEUE = Knob(2048, 64, 16384, "packets", "frames that a worker's queue holds")
NICE = Knob(
    0, 0, 19, "(as nice(2))", "how far the workers' threads step back for applications on their cores"
)
STACK = cores_knob("cores that take packets over after GRO (RPS), hexadecimal; nobody, if left out")
COMMON = {
    "deliver": "how frames get into the container: peer (after GRO) or veth (by XDP)",
    "mask": "cores of the workers, hexadecimal; slot 1 is the lowest",
    "queue": QUEUE.help,
    "nice": NICE.help,
    "stack": STACK.help,
}
"""Knobs that every policy has: they belong to the datapath."""


class Delivery(StrEnum):
    """How frames get into the container."""

    PEER = "peer"
    """As skbs, after GRO, by bpf_redirect_peer."""
    VETH = "veth"
    """As frames, by XDP redirect: works across namespaces without a helper."""


@dataclass(frozen=True)
class Plan:
    """What is to be attached; ``workers`` are cores, in the order of their slots."""

    policy: Policy
    knobs: tuple[tuple[str, int], ...]
    workers: tuple[int, ...]
    delivery: Delivery = Delivery.PEER
    queue: int = QUEUE.default
    nice: int = NICE.default
    stack: int = STACK.default
    """Mask of the cores that take packets over after GRO; 0: the core that did GRO goes on."""

    @property
    def rps(self) -> Mapping[str, str]:
        """Masks of RPS by device, as `steering.stock.check` takes them: of the last one that merges packets.

        Past the NIC, ``peer`` moves an skb from device to device on one core, so that nobody there is asked.
        """
        return {"nic" if self.delivery is Delivery.PEER else "veth": f"{self.stack:x}"} if self.stack else {}

    @property
    def key(self) -> str:
        """One unit serves all plans of one key: they differ in knobs, delivery, nice and stack. What the C
        half says, not when it was written, makes another."""
        text = sha256(self.policy.header.read_bytes()).hexdigest()
        return f"{self.policy.folder} {text} {tuple(self.policy.knobs)} {self.workers} {self.queue}"

    def __post_init__(self) -> None:
        for core in self.workers:
            cores.require_usable(core)
        if len(set(self.workers)) != len(self.workers) or len(self.workers) > MOST_WORKERS:
            raise BadInput(f"workers {list(self.workers)}: each core once, {MOST_WORKERS} at most")


def read(spec: Spec, nic_core: int) -> Plan:
    """The plan that a spec describes. Workers are, unless a ``mask`` names others, all usable cores but the
    NIC's.

    Raises:
        BadInput: unknown policy, knob, delivery or core, or a value out of range.
    """
    policy = find(spec)
    own = {key: text for key, text in spec.args.items() if key not in COMMON}
    for key in own:
        if key not in policy.knobs:
            raise unknown(f"knob of policy '{policy.name}'", key, [*policy.knobs, *COMMON])
    deliver = spec.args.get("deliver", Delivery.PEER.value)
    if deliver not in list(Delivery):
        raise unknown("delivery", deliver, list(Delivery))
    workers: Sequence[int] = [core for core in cores.usable() if core != nic_core]
    if "mask" in spec.args:
        workers = cores.from_mask(spec.args["mask"])
    queue = QUEUE.read("queue", spec.args.get("queue", str(QUEUE.default)))
    nice = NICE.read("nice", spec.args.get("nice", str(NICE.default)))
    stack = STACK.read("stack", spec.args["stack"]) if "stack" in spec.args else STACK.default
    values: Mapping[str, int] = read_knobs(f"policy '{policy.name}'", policy.knobs, own)
    return Plan(policy, tuple(values.items()), tuple(workers), Delivery(deliver), queue, nice, stack)
