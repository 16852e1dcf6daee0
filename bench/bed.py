"""The test bed: labs with wire, sink and instruments, and variants put into effect."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench import frame, rss
from bench import lab as labs
from bench.application import Runs
from bench.lab import Lab
from bench.lab_plan import Plan as LabPlan
from bench.losses import Losses
from bench.observer import Observer
from bench.seen import Seen
from bench.sink import SHARE, Sink, user_of
from bench.traffic import Traffic
from bench.variant import Variant
from bench.wire import NEEDS, Wire
from steering import cores, doctor, plan, stock
from steering.closing import Closing
from steering.datapath import Datapath, Units
from steering.errors import BadInput
from steering.undo import Changes


@dataclass(frozen=True)
class Case:
    """One case's lab, and what sends and receives in it."""

    lab: Lab
    wire: Wire
    sink: Sink
    losses: Losses


@dataclass(frozen=True)
class Effect:
    """A variant in effect."""

    case: Case
    settings: dict[str, str]
    """As read back from the devices."""
    datapath: Datapath | None
    """Ours; else the stock stack runs, under a program that counts."""
    nic: Seen
    cores_of_flows: tuple[int, ...] = ()
    """From which core the wire sends each flow, where that is not always the NIC's."""

    def seen(self) -> int:
        """Frames that the NIC has had; since attaching, or since the bed was made: use differences."""
        if self.datapath:
            return self.datapath.totals().steer["seen"]
        return self.nic.frames


class Bed(Closing):
    """Everything that runs need, from construction until :meth:`close`. A context manager.

    Raises:
        BadInput: a variant, core or traffic that can't be.
        OversprayError: the host can't, or another lab is in use.
    """

    def __init__(
        self,
        variants: Sequence[Variant],
        traffic: Traffic,
        nic_core: int | None = None,
        containers: int = 1,
        mtu: int = LabPlan.inner_mtu,
        ip: int = 4,
        outer_ip: int = 4,
        sink: str = "count",
    ) -> None:
        """``ip`` is the version of the packets, ``outer_ip`` that of a tunnel around them; ``sink`` as
        `bench.sink.user_of` has it."""
        self._user = user_of(sink)
        if isinstance(self._user, Runs) and self._user.is_iperf3 and traffic.flows > 1:
            raise BadInput(f"sink '{sink}' takes one flow, not {traffic.flows}: choose --flows 1")
        self.nic_core = cores.usable()[0] if nic_core is None else nic_core
        cores.require_usable(self.nic_core)
        for variant in variants:
            variant.check(self.nic_core)
        plans = {each.case: labs.planned(each.case, containers, mtu, ip, outer_ip) for each in variants}
        for each in plans.values():
            frame.build(each, traffic.payload)  # says so where it does not fit
        rows = [*NEEDS, *(row for variant in variants for row in variant.needs)]
        doctor.require(*dict.fromkeys(rows + ["IPv6"] * (6 in (ip, outer_ip))))
        self.traffic = traffic
        with ExitStack() as stack:
            self._units = stack.enter_context(Units())
            self._nic = stack.enter_context(Seen())
            self.observer = stack.enter_context(Observer())
            made = stack.enter_context(labs.several(plans.values()))
            self._cases = {case: self._equipped(stack, lab) for case, lab in made.items()}
            self._open = stack.pop_all()

    @property
    def sink(self) -> str:
        """What receives, written out: ``count``, or ``read:core=N,batch=N``, or ``app:core=N,run=…``."""
        return str(self._user or "count")

    @property
    def labs(self) -> list[Lab]:
        """One for each case."""
        return [case.lab for case in self._cases.values()]

    @contextmanager
    def in_effect(self, variant: Variant) -> Iterator[Effect]:
        """Until the block ends; then everything is as it was found."""
        case = self._cases[variant.case]
        target = case.lab.target
        with ExitStack() as stack:
            datapath = None
            if variant.is_stock:
                stack.enter_context(self._nic.attached(case.lab))
            else:
                planned = plan.read(variant.steering, self.nic_core)
                datapath = stack.enter_context(Datapath(target, planned, self._units))
            # After the program, without which nothing polls a veth: threads that do have their cores set.
            changes = stack.enter_context(Changes())
            wants = (variant.stock_steering, variant.coalescing, self.nic_core)
            stock.apply(target, *wants, changes, self._rps(variant))
            wanted = stock.check(*wants)
            spread = rss.cores_of_flows(case.lab.plan, self.traffic.flows, wanted.queues, wanted.ports)
            yield Effect(case, stock.effective(target), datapath, self._nic, tuple(spread))

    def unwanted(self, variant: Variant) -> list[str]:
        """Settings that are not as the variant, which is in effect, wants them: a kernel may change them."""
        target = self._cases[variant.case].lab.target
        wants = (variant.stock_steering, variant.coalescing, self.nic_core)
        return stock.differing(target, *wants, self._rps(variant))

    def close(self) -> None:
        """Take everything down. Closing twice is harmless."""
        self._open.close()

    def _rps(self, variant: Variant) -> Mapping[str, str]:
        """Behind a policy of ours."""
        return stock.NOBODY if variant.is_stock else plan.read(variant.steering, self.nic_core).rps

    def _equipped(self, stack: ExitStack, lab: Lab) -> Case:
        # A flow has one reader, which a connected socket tells RFS.
        is_one = self.traffic.flows == 1
        sink = stack.enter_context(Sink(lab, SHARE, self._user, connected=bool(self._user) and is_one))
        wire = stack.enter_context(Wire(lab, self.traffic, self.nic_core))
        return Case(lab, wire, sink, stack.enter_context(Losses([*lab.names.values()])))
