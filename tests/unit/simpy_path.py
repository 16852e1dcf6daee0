"""The sprayed path in plain SimPy: what the twin's engine is compared with, and timed beside.

A process stands for a piece of hardware or of the kernel: the link, the NIC's interrupts, its
softirq, each worker's thread, the application. Queues are Stores, a socket's lock is a Resource,
a unit of work is a timeout. It takes the twin's inputs (setup, machine, load, costs) and asks the
same compiled policy; of the twin's engine it has nothing. One UDP flow, one NIC queue, counted from
the start; for policies that know no more than the workers' counters.
"""

from dataclasses import dataclass

import numpy as np
import simpy
from simpy_machine import APPLICATION, SOFTIRQ, WORKER, Core, Process, Sleeper, Tally, World

from prototype.costs import Costs
from prototype.model_load import Load, Machine
from prototype.model_path import Setup
from steering.hosted import Hosted, idle_workers
from steering.layout import header

BULK, NAPI_WEIGHT, SEGMENTS = 8, 64, 64
INNER, OUTER, LINK_GAP = 42, 50, 24


@dataclass(slots=True)
class Packet:
    """One datagram on its way."""

    due: float
    seq: int


class Application(Sleeper):
    """Reads the socket, datagram by datagram."""

    def __init__(self, core: Core, room: int) -> None:
        super().__init__(core, APPLICATION, room)
        self.read = self.world.cost("read")
        self.expected = self.unread = 0

    def step(self) -> Process:
        """A datagram."""
        world, length = self.world, self.world.load.payload
        packet = yield self.queue.get()
        world.moves(2.0 * length)
        yield self.core.work(self.read() + world.shared.copy_byte * length * world.pressure)
        self.unread -= 1
        self.received(packet)

    def received(self, packet: Packet) -> None:
        """Count it: order as RFC 4737 has it, and latency."""
        tally, now = self.world.tally, self.world.now
        tally.delivered += 1
        tally.in_time += now < self.world.stop
        tally.reordered += packet.seq < self.expected
        self.expected = max(self.expected, packet.seq + 1)
        tally.latency.append(now - packet.due)


class Stack:
    """From a packet in the right network namespace to the socket: GRO, IP and UDP, the lock."""

    def __init__(self, setup: Setup, application: Application) -> None:
        self.world, self.merges, self.application = application.world, setup.merges, application
        world = self.world
        self.reads = world.load.reads
        self.stack = world.cost("stack", "redirect")
        self.first, self.next = world.cost("socket"), world.cost("segment")
        self.lock, self.owner = simpy.Resource(world), -1
        stages = world.costs.stages
        self.locked, self.bounce = stages.lock.mean, stages.bounce.mean

    def gather(self, held: list[Packet], packet: Packet, core: Core) -> Process:
        """GRO takes a packet, and passes on a full skb."""
        held.append(packet)
        if len(held) >= (SEGMENTS if self.merges else 1):
            yield from self.flush(held, core)

    def flush(self, held: list[Packet], core: Core) -> Process:
        """GRO passes on what it holds: IP and UDP once, the socket for each packet."""
        if not held:
            return
        skb = held.copy()
        held.clear()
        self.world.tally.did["skbs"] += 1
        yield core.work(self.stack())
        for packet in skb:
            cost = self.first() if packet is skb[0] else self.next()
            yield from self.enqueue(packet, cost, core)

    def enqueue(self, packet: Packet, cost: float, core: Core) -> Process:
        """Into the socket, whose lock one core has at a time."""
        world, began = self.world, self.world.now
        took = core.takes(cost)
        with self.lock.request() as mine:
            yield mine
            bounce = self.bounce if self.owner != core.number else 0.0
            self.owner = core.number
            core.spend(world.now - began + bounce, began)
            yield world.timeout(bounce + self.locked)
        yield world.timeout(took - self.locked)
        reader = self.application
        if not self.reads:
            reader.received(packet)
        elif reader.unread >= reader.queue.capacity:
            world.tally.lost["udp_socket_full"] += 1
        else:
            reader.unread += 1
            reader.queue.put(packet)
            reader.wake(core)


class Policy:
    """The compiled header, and the counters that it reads."""

    def __init__(self, setup: Setup, load: Load, workers: int) -> None:
        assert setup.policy, "stock Linux has no policy"
        assert not setup.policy.needs, "a policy that knows no more than the workers' counters"
        self.hosted = Hosted(setup.policy)
        packet = np.zeros(1, header("policy.h").struct("packet"))
        packet["length"], packet["protocol"] = load.payload + INNER, 17
        packet["hash"] = np.random.default_rng(load.seed).integers(0, 1 << 32, 1, dtype=np.uint32)
        counters = idle_workers(workers)
        states = (self.hosted.flow_states(), self.hosted.core_state())
        self.kept = (packet, self.hosted.knobs(setup.knobs), *states, counters)
        self.addresses = [each.ctypes.data for each in self.kept]
        self.sent, self.lost, self.done = (counters["worker"][n] for n in ("sent", "lost", "done"))

    def slot(self) -> int:
        """Of the next packet; 0 is the NIC's core."""
        slot = int(self.hosted.decide(*self.addresses))
        if slot:
            self.sent[slot - 1] += 1
        return slot


class Worker(Sleeper):
    """A cpumap's thread: takes packets in bulks, makes skbs of them, runs the stack."""

    def __init__(self, core: Core, stack: Stack, policy: Policy, slot: int, room: int) -> None:
        super().__init__(core, WORKER, room)
        self.stack, self.policy, self.slot = stack, policy, slot
        self.bulk: list[Packet] = []
        """Packets that the NIC's core has for it."""
        self.held: list[Packet] = []
        self.since_flush = 0
        self.take = self.world.cost("take")
        self.make = self.world.cost("skb", "gro" if stack.merges else "miss")

    def hand_over(self, by: Core) -> None:
        """The bulk goes into the queue; what finds no room is lost."""
        for packet in self.bulk:
            if len(self.queue.items) < self.queue.capacity:
                self.queue.put(packet)
            else:
                self.policy.lost[self.slot - 1] += 1
                self.world.tally.lost["worker_queue_full"] += 1
        self.bulk.clear()
        self.wake(by)

    def step(self) -> Process:
        """A bulk."""
        world, shared = self.world, self.world.shared
        waiting = len(self.queue.items)
        far = shared.cold + (shared.deep - shared.cold) * min(1.0, waiting / shared.depth)
        taken = []
        while self.queue.items and len(taken) < BULK:
            taken.append((yield self.queue.get()))
        self.policy.done[self.slot - 1] += len(taken)
        self.since_flush += len(taken)
        world.tally.did["bulks"] += 1
        self.core.debt += self.take()
        for packet in taken:
            touched = shared.byte * world.load.payload * world.pressure
            yield self.core.work(self.make() + touched + far)
            yield from self.stack.gather(self.held, packet, self.core)
        if self.since_flush >= NAPI_WEIGHT or not self.queue.items:
            self.since_flush = 0
            yield from self.stack.flush(self.held, self.core)


class Nic:
    """Ring, moderated interrupts, and the softirq that polls."""

    def __init__(
        self, core: Core, stack: Stack, policy: Policy, workers: list[Worker], machine: Machine
    ) -> None:
        self.world, self.core, self.stack = core.world, core, stack
        self.policy, self.workers = policy, workers
        world = self.world
        self.ring = simpy.Store(world, machine.ring)
        self.hold = machine.hold_us * 1e3
        self.frames = machine.frames if machine.frames > 1 or not self.hold else machine.ring
        self.masked = False
        self.enough, self.raised = world.event(), world.event()
        self.held: list[Packet] = []
        self.frame = world.load.payload + INNER + OUTER
        self.line = (self.frame + LINK_GAP) * 8e9 / machine.link
        decision = world.costs.policies.get(policy.hosted.policy.name, 0.0)
        gro = "gro" if stack.merges else "miss"
        self.local = world.cost("nic", "steer", "skb", gro, more=decision)
        self.remote = world.cost("nic", "steer", "hand", more=decision)
        self.bulk, self.irq = world.cost("bulk"), world.cost("irq")
        self.softirq_entry, self.poll_entry = world.cost("softirq"), world.cost("poll")
        world.process(self.link())
        world.process(self.softirq())

    def link(self) -> Process:
        """Frames arrive, one behind the other."""
        world, load = self.world, self.world.load
        gap = max(1e9 / load.rate, self.line) if load.rate else self.line
        burst = load.burst if load.rate else 1
        poisson = load.rate is not None and load.arrivals == "poisson"
        due = free = 0.0
        while due < world.stop:
            for _ in range(burst):
                arrival = max(due, free)
                if arrival > world.now:
                    yield world.timeout(arrival - world.now)
                free = arrival + self.line
                self.arrives(Packet(due, world.tally.offered))
            due += burst * gap * (world.random.expovariate(1.0) if poisson else 1.0)

    def arrives(self, packet: Packet) -> None:
        """Into the ring; its first packet, and the last one of so many, matter to interrupts."""
        self.world.tally.offered += 1
        if len(self.ring.items) >= self.ring.capacity:
            self.world.tally.lost["nic_ring_full"] += 1
            return
        self.ring.put(packet)
        if self.masked:
            return
        if len(self.ring.items) == 1:
            self.enough = self.world.event()
            self.world.process(self.interrupt())
        if len(self.ring.items) == self.frames:
            self.enough.succeed()

    def interrupt(self) -> Process:
        """When the first packet has waited long enough, or enough have come."""
        if self.hold:
            yield self.enough | self.world.timeout(self.hold)
        yield self.world.timeout(self.world.shared.irq_latency)
        self.masked = True
        self.core.debt += self.irq()
        self.world.tally.did["irqs"] += 1
        self.raised.succeed()

    def softirq(self) -> Process:
        """NAPI: polls until the ring is empty, and lets the NIC interrupt again."""
        while True:
            yield self.raised
            self.raised = self.world.event()
            yield self.core.turn(SOFTIRQ)
            self.core.debt += self.softirq_entry()
            self.world.tally.did["softirqs"] += 1
            while self.masked:
                yield from self.poll()
            self.core.leave()

    def poll(self) -> Process:
        """Up to the budget; at its end bulks are handed over and GRO passes on what it holds."""
        self.core.debt += self.poll_entry()
        self.world.tally.did["polls"] += 1
        left = NAPI_WEIGHT
        while True:
            while left and self.ring.items:
                left -= 1
                packet = yield self.ring.get()
                yield from self.receive(packet)
            begun = next((worker for worker in self.workers if worker.bulk), None)
            if begun:
                yield self.core.work(self.bulk())
                begun.hand_over(self.core)
            elif self.held:
                yield from self.stack.flush(self.held, self.core)
            else:
                break
        self.masked = left == 0

    def receive(self, packet: Packet) -> Process:
        """XDP; then into a worker's bulk, or an skb here."""
        world, slot = self.world, self.policy.slot()
        world.moves(self.frame)
        if not slot:
            touched = world.shared.byte * world.load.payload * world.pressure
            yield self.core.work(self.local() + touched)
            yield from self.stack.gather(self.held, packet, self.core)
            return
        worker = self.workers[slot - 1]
        full = len(worker.bulk) + 1 == BULK
        yield self.core.work(self.remote() + (self.bulk() if full else 0.0))
        worker.bulk.append(packet)
        if full:
            worker.hand_over(self.core)


def simulate(setup: Setup, machine: Machine, load: Load, costs: Costs) -> Tally:
    """Run it until nothing is on its way any more."""
    world = World(load, costs)
    cores = [Core(world, number, setup.weight) for number in range(machine.cores)]
    others = machine.worker_cores()
    stack = Stack(setup, Application(cores[others[-1]], machine.socket))
    policy = Policy(setup, load, len(others))
    workers = [
        Worker(cores[number], stack, policy, slot, machine.queue)
        for slot, number in enumerate(others, 1)
    ]
    Nic(cores[0], stack, policy, workers, machine)
    world.run()
    return world.tally
