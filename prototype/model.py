"""The model: what a machine with any number of cores does with a load, by a path and a policy.

Discrete events, see :mod:`prototype.model_engine`; the policy is the kernel's own text, compiled
for this host. A run is repeatable: the same arguments give the same result, bit by bit.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prototype import model_state as state
from prototype.costs import Costs
from prototype.model_engine import DONE, FAULT, SHORT, advance
from prototype.model_load import Load, Machine
from prototype.model_outcome import Outcome, read
from prototype.model_path import Setup, build
from prototype.model_queues import tournament
from steering.errors import OversprayError
from steering.hosted import Hosted, idle_workers
from steering.layout import header

_PACKET = header("policy.h").struct("packet")
_FIRST_POOL = 1 << 14
_LOGGED = 1 << 16
_TCP_ACK = 0x10
# Ethernet, IP and UDP or TCP with timestamps; the tunnel's; preamble, gap and checksum on the link.
_INNER = {"udp": 42, "tcp": 66}
_OUTER, _LINK = 50, 24

Array = NDArray[Any]


def simulate(
    setup: Setup,
    machine: Machine,
    load: Load,
    costs: Costs,
    progress: Callable[[float], None] = lambda share: None,
    traced: int = 0,
) -> Outcome:
    """Run the model.

    Args:
        setup: path and steering.
        machine: cores and queues.
        load: what is sent.
        costs: of the stages.
        progress: told the share that is done, from time to time.
        traced: how many units of work to remember (:attr:`Outcome.trace`).

    Raises:
        OversprayError: the policy did what its contract forbids, or does not compile.
    """
    hosted = Hosted(setup.policy) if setup.policy else None
    run = _Run(setup, machine, load, costs, hosted, traced)
    end = (load.warmup + load.seconds) * 1e9
    reserve = machine.ring + 256
    step, until = end / 50, 0.0
    while True:
        why = advance(run.state, until, reserve)
        if why == DONE:
            break
        if why == FAULT:
            raise OversprayError(
                f"policy '{setup.steering}' does what its contract forbids:"
                f" type 'overspray policy check {setup.steering}'"
            )
        if why == SHORT:
            run.grow()
            continue
        # Far behind the end only what is in queues is left.
        until += step
        progress(min(1.0, until / end))
    return read(setup, load, run.state)


class _Run:
    """One run's arrays, made and read."""

    def __init__(
        self,
        setup: Setup,
        machine: Machine,
        load: Load,
        costs: Costs,
        hosted: Hosted | None,
        traced: int,
    ) -> None:
        self.setup, self.machine, self.load = setup, machine, load
        path = build(setup, costs, load.protocol)
        random = np.random.default_rng(load.seed)
        slots = machine.worker_cores()
        # Every core looks around once, so that NIC cores find their sources.
        tree, at = tournament(machine.cores)
        workers = idle_workers(len(slots))
        packet = np.zeros(1, _PACKET)
        packet["length"] = load.payload + _INNER[load.protocol]
        packet["protocol"] = 6 if load.protocol == "tcp" else 17
        packet["tcp_flags"] = _TCP_ACK if load.protocol == "tcp" else 0
        self.kept = _policy_arrays(hosted, setup, machine.queues, workers, packet)
        addresses = np.array(self.kept[-1], np.uint64)
        flows, order, sources = _traffic(machine, load, _line(setup, machine, load), random)
        queues = np.zeros((machine.cores, state.QUEUES), state.QUEUE)
        queues["limit"] = machine.backlog
        queues["limit"][:, state.RING] = machine.ring
        queues["limit"][:, state.CPUMAP] = machine.queue
        needs = setup.policy.needs if setup.policy else frozenset()
        self.workers = workers
        self.state = state.State(
            world=_world(setup, machine, load, costs, path, random),
            packets=np.zeros(0, state.PACKET),
            queues=queues,
            bulks=np.zeros((machine.queues, max(1, len(slots))), state.QUEUE),
            held=np.full((2 * machine.cores, load.flows), state.NOBODY, np.int64),
            cores=_cores(machine, slots),
            flows=flows,
            order_of_flows=order,
            sources=sources,
            tables=path.tables,
            hops=path.hops,
            tree=tree,
            at=at,
            at_bits=at.view(np.int64),
            worker_core=np.array([0, *slots], np.int64),
            workers=workers.reshape(1).view(np.uint64),
            packet=packet,
            policy=addresses,
            needs=np.array([need in needs for need in ("clear", "pressure", "time")], np.int64),
            drops=np.zeros(len(state.DROPS), np.int64),
            fair=np.zeros((machine.cores, len(state.KINDS))),
            busy=np.zeros((machine.cores, len(state.KINDS))),
            latency=np.zeros(state.LATENCY_BINS, np.int64),
            log=np.zeros((_LOGGED, 2), np.int64),
            trace=np.zeros(traced, state.TRACE),
        )
        self.state.world["free"] = state.NOBODY
        self.grow()

    def grow(self) -> None:
        """A pool twice as large; packets keep their places."""
        old, world = self.state.packets, self.state.world
        more = max(_FIRST_POOL, len(old))
        new = np.zeros(more, state.PACKET)
        new["link"] = np.arange(len(old) + 1, len(old) + more + 1)
        new["link"][-1] = world["free"][0]
        world["free"] = len(old)
        world["spare"] += more
        self.state = self.state._replace(packets=np.concatenate([old, new]))


def _policy_arrays(
    hosted: Hosted | None, setup: Setup, sources: int, workers: Array, packet: Array
) -> tuple[Any, ...]:
    """What the policy reads and writes, kept alive; last its addresses as the engine has them."""
    if hosted is None:
        return ([0] * (6 + sources),)
    import ctypes

    knobs, flows = hosted.knobs(setup.knobs), hosted.flow_states()
    cores = [hosted.core_state() for _ in range(sources)]
    decide = ctypes.cast(hosted.decide, ctypes.c_void_p).value
    arrays = (packet, knobs, flows, workers)
    addresses = [decide, *(each.ctypes.data for each in arrays), flows.strides[0]]
    return (hosted, *arrays, cores, [*addresses, *(each.ctypes.data for each in cores)])


def _traffic(
    machine: Machine, load: Load, line: float, random: np.random.Generator
) -> tuple[Array, ...]:
    """Flows, the order in which sources send them, and the sources; ``line`` ns a frame."""
    flows = np.zeros(load.flows, state.FLOW)
    hashes = random.integers(0, 1 << 32, load.flows, dtype=np.uint32)
    flows["hash"], flows["owner"] = hashes, state.NOBODY
    seen = hashes[:1].repeat(load.flows) if load.alike else hashes
    slots = machine.worker_cores() or (0,)
    # RPS spreads as the kernel's reciprocal_scale does; RSS by the low bits of its own hash.
    flows["rps"] = np.array(slots)[(seen.astype(np.uint64) * len(slots)) >> np.uint64(32)]
    apps = machine.apps or (tuple(range(machine.cores)) if load.flows > 1 else slots[-1:])
    flows["app"] = np.array(apps)[np.arange(load.flows) % len(apps)]
    queue_of = (seen & np.uint32(0x7F)) % machine.queues
    sources = np.zeros(machine.queues, state.SOURCE)
    order = np.argsort(queue_of, kind="stable").astype(np.int64)
    for number, source in enumerate(sources):
        mine = int((queue_of == number).sum())
        source["core"], source["flows"], source["rng"] = number, mine, random.integers(1, 1 << 63)
        source["first_flow"] = int((queue_of < number).sum())
        source["next"] = state.NEVER if not mine else 0.0
        if mine and load.rate:
            # The queues share the link: together they are sent no more than it carries.
            gap = 1e9 / load.rate if machine.lab else max(1e9 / load.rate, line)
            source["gap"] = load.burst * gap * load.flows / mine
        elif mine and not machine.lab:
            source["gap"] = line * load.flows / mine
        source["turn"] = -1
        source["burst"] = load.burst if load.rate else 1
    return flows, order, sources


def _cores(machine: Machine, slots: tuple[int, ...]) -> Array:
    cores = np.zeros(machine.cores, state.CORE)
    cores["source"] = cores["skb"] = cores["packet"] = cores["poll"] = state.NOBODY
    cores["source"][: machine.queues] = np.arange(machine.queues)
    cores["worker_asleep"] = cores["app_asleep"] = 1
    for slot, core in enumerate(slots, 1):
        cores["slot"][core] = slot
    return cores


def _frame(setup: Setup, load: Load) -> int:
    """Bytes of a frame."""
    return load.payload + _INNER[load.protocol] + (0 if setup.case == "native" else _OUTER)


def _line(setup: Setup, machine: Machine, load: Load) -> float:
    """ns that a frame is on the link."""
    return (_frame(setup, load) + _LINK) * 8e9 / machine.link


def _world(
    setup: Setup, machine: Machine, load: Load, costs: Costs, path: Any, random: Any
) -> Array:
    """Scalars; ns, and bytes a ns."""
    world = np.zeros(1, state.WORLD)
    shared, stages = costs.shared, costs.stages
    line = _line(setup, machine, load)
    frame = _frame(setup, load)
    hold = machine.hold_us * 1e3
    if machine.lab and load.rate:
        gap = 1e9 / load.rate
        fill = ((machine.frames if machine.frames > 1 else machine.batch) - 1) * gap
        hold = min(hold, fill) if hold else fill
    values: dict[str, float] = {
        "warmup": load.warmup * 1e9,
        "stop": (load.warmup + load.seconds) * 1e9,
        "rng": random.integers(1, 1 << 63),
        "frame": 0.0 if machine.lab else line,
        "hold": hold,
        "frames": machine.frames if machine.frames > 1 or hold == 0 else machine.ring,
        "batch": machine.batch,
        "train": load.train,
        "burst": load.burst if load.rate else 1,
        "poisson": load.arrivals == "poisson" and load.rate is not None,
        "lab": machine.lab,
        "window": load.window,
        "ours": setup.policy is not None,
        "merge": path.merge,
        "sequenced": load.protocol == "tcp",
        "stock": path.stock,
        "workers": len(machine.worker_cores()),
        "reads": load.reads,
        "room": machine.socket,
        "weighs": 1 / setup.weight,
        "lock": stages.lock.mean,
        "bounce": stages.bounce.mean,
        "byte": shared.byte,
        "copy": shared.copy_byte,
        "length": load.payload,
        "frame_bytes": frame,
        "slice": shared.slice,
        "pressure": 1.0,
        "memory": shared.memory / 1e9,
    }
    same = ("cold", "deep", "depth", "irq_latency", "ipi_latency", "wake_latency")
    values |= {name: getattr(shared, name) for name in (*same, "softirq_limit", "contention")}
    for name, value in values.items():
        world[name] = value
    return world
