"""The controller of one NIC: attaches, follows the overlay, answers commands, puts everything back.

The main thread owns the watch and follows; the socket's threads answer. What both touch, the
datapath, has one lock. A unit is compiled outside of it, so that nothing waits for a compiler.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from steering import bpf, describe, netns
from steering.compile import CompileError, Module
from steering.control import Address, Request, Server
from steering.datapath import Datapath
from steering.errors import BadInput, OversprayError
from steering.gate import Gate
from steering.overlay import Endpoint, Overlay, Watch, period, refresh
from steering.plan import Plan, read_plan
from steering.policy import read_knobs
from steering.preflight import check_device, require_for
from steering.sampled import Orderer, sample
from steering.spec import Spec
from steering.undo import Changes
from steering.unit import Programs

_LOOK_AGAIN = 10.0
"""Seconds after which rules are looked for again, for they come without a notice."""
_TRY_AGAIN = 1.0
_CORES_AGAIN = 1.0
"""Seconds after which it is looked whether the workers still have their cores."""
_WATCHED = 5.0
"""Seconds for which order is watched after the last look at it."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """What somebody asked for: this plan on that device."""

    device: str
    ns: netns.Namespace
    plan: Plan
    bypass: bool = False


Told = Callable[["Controller"], None]


def run(wish: Wish, attached: Told, begun: Told = lambda _: None) -> None:
    """Attach, and stay until somebody ends it; ``attached`` is called once packets flow.

    ``begun`` is called before anything is changed, to have signals call :meth:`Controller.stop`:
    an exception that comes at any moment could leave frames stripped for nobody.
    What it says on the way goes to the log of this module.

    Raises:
        BadInput: no such device, or a policy that does not compile.
        OversprayError: it has a controller already, the host can't, or the device is gone.
    """
    controller = Controller(wish)
    begun(controller)
    with Server(controller.address, controller.answer) as server:
        try:
            with controller.in_place():
                attached(controller)
                controller.follow()
        except OversprayError as error:
            controller.failure = error
            raise
        else:
            _log.info("detached: %s", controller.why)
        finally:
            server.withdraw()  # who asks for an end may attach again once it is answered
            controller.over.set()


class Controller:
    """One NIC's controller; see :func:`run`."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.address = Address.of(wish.ns, wish.device)
        self._facts = {**self.address.as_dict(), "pid": os.getpid()}
        self.over = threading.Event()
        """Set when everything has been put back."""
        self.failure: OversprayError | None = None
        self.why = "asked to"
        """Who has ended it."""
        self._gate = Gate(wish.bypass)
        self._lock = threading.Lock()
        self._swapping = threading.Lock()
        self._ending = threading.Event()
        self._watch: Watch | None = None
        self._datapath: Datapath | None = None
        self._programs = Programs()
        self._served: Overlay | None = None
        self._said: dict[str, set[str]] = {}
        self._refused: set[Endpoint] = set()
        self._orderer: Orderer | None = None
        self._watched_until = 0.0
        self._since = self._look_at = self._refresh_at = self._cores_at = time.monotonic()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The datapath is attached for the length of the block.

        Raises:
            OversprayError: rules would be skipped, or what :class:`Datapath` raises.
        """
        plan = self.wish.plan
        check_device(self.wish.ns, self.wish.device)
        with (
            Watch(self.wish.ns, self.wish.device) as watch,  # its namespaces stay open to the end
            Changes() as changes,
            self._programs as programs,
        ):
            self._watch = watch
            allowed = self._allowed_at_first(watch.overlay)
            self._compile(plan)
            if self._ending.is_set():
                raise OversprayError(f"ended before it was attached: {self.why}")
            with Datapath(allowed, plan, changes, programs) as datapath:
                with self._lock:
                    self._datapath = datapath
                self._since = time.monotonic()
                self._look_at = self._since + _LOOK_AGAIN
                self._note(allowed)
                try:
                    yield
                finally:
                    with self._lock:
                        self._datapath = None
                    self._unwatch(float("inf"))

    def follow(self) -> None:
        """Follow the overlay until :meth:`stop`.

        Raises:
            OversprayError: the device is gone.
        """
        assert self._watch is not None
        while not self._ending.is_set():
            wait = min(self._look_at, self._refresh_at, self._cores_at) - time.monotonic()
            try:
                changed = self._watch.changed(max(0.0, wait))
            except OversprayError as error:
                raise OversprayError(f"detached: {error}") from None
            now = time.monotonic()
            self._unwatch(now)
            if changed is not None or now >= self._look_at:
                self._update(self._watch.overlay)
            if now >= self._refresh_at:
                self._refresh()
            if now >= self._cores_at:
                self._look_at_cores()

    def stop(self, why: str = "asked to") -> None:
        """End :meth:`follow`; safe in a signal handler."""
        self.why = why
        self._ending.set()
        if self._watch is not None:
            self._watch.stop()

    def answer(self, request: Request) -> Any:
        """Answer one command; called by the socket's threads.

        Raises:
            BadInput, OversprayError: as the command is to fail.
        """
        match request:
            case {"do": "status"}:
                return self.status()
            case {"do": "sample"}:
                return self._sample()
            case {"do": "swap", "policy": str(text)}:
                return self._swap(text)
            case {"do": "set", "knobs": dict(knobs)}:
                return self._set(knobs)
            case {"do": "detach"}:
                return self._detach()
        raise BadInput("this controller does not know that request: detach, and attach again")

    def status(self) -> dict[str, Any]:
        """Everything that is known of it, as plain values; little while it is being attached."""
        with self._lock:
            if self._datapath is None or self._served is None:
                return {**self._facts, "attached": False}
            return {**self._facts, **self._live_facts(self._datapath, self._served)}

    def _live_facts(self, datapath: Datapath, served: Overlay) -> dict[str, Any]:
        totals = datapath.totals()
        refused = [
            {**describe.endpoint_facts(end), "reason": why}
            for end, why in datapath.routes.refused.items()
        ]
        shut = [
            {**describe.tunnel_facts(tunnel), "reason": why}
            for tunnel, why in self._gate.left_out.items()
        ]
        return {
            "attached": True,
            "uptime": round(time.monotonic() - self._since, 3),
            **describe.plan_facts(datapath.plan),
            "workers": describe.worker_facts(datapath),
            "tunnels": [describe.tunnel_facts(each) for each in _in_order(served.tunnels)],
            "endpoints": [
                describe.endpoint_facts(each, datapath.routes.table.get(each))
                for each in _in_order(served.endpoints, "mac")
            ],
            "not_served": [*shut, *refused],
            "bypassed": [str(finding) for finding in self._gate.findings],
            "counters": {
                **describe.counter_facts(totals),
                "policy": describe.policy_facts(datapath),
            },
            **describe.reasons(totals),
        }

    def _sample(self) -> dict[str, Any]:
        """Raw counts, and those of order: watched from the first look until nobody looks."""
        self._watched_until = time.monotonic() + _WATCHED
        if self._orderer is None and bpf.has_tcx():
            self._watch_order(Module("order.bpf.c"))
            self._look_soon()
        with self._lock:
            return sample(self._attached(), self._orderer)

    def _watch_order(self, module: Module) -> None:
        """Have the program look at what is delivered; one that is not needed is let go of."""
        with ExitStack() as unless, self._lock:
            unless.callback(module.close)
            if self._orderer is None:
                self._orderer = Orderer(module, self._attached())
                unless.pop_all()

    def _look_soon(self) -> None:
        """Have the following thread see when nobody looks any more."""
        self._look_at = min(self._look_at, self._watched_until + _WATCHED)

    def _unwatch(self, now: float) -> None:
        if self._orderer is not None and now >= self._watched_until:
            with self._lock:
                self._orderer.close()
                self._orderer = None

    def _swap(self, text: str) -> dict[str, Any]:
        with self._swapping:
            with self._lock:
                now = self._attached().plan
            spec = Spec.parse(text)
            plan = read_plan(replace(spec, args={"deliver": now.delivery, **spec.args}), now.cores)
            with self._lock:
                self._attached().check_swap(plan)  # ahead of seconds of compiling
            self._compile(plan)
            with self._lock:
                self._attached().swap(plan)
            facts = describe.plan_facts(plan)
            _log.info("policy: %s", facts["policy"])
            return facts

    def _set(self, texts: Mapping[str, Any]) -> dict[str, Any]:
        with self._swapping, self._lock:
            datapath = self._attached()
            policy = datapath.plan.policy
            words = {name: str(text) for name, text in texts.items()}
            read = read_knobs(f"policy '{policy.name}'", policy.knobs, words)
            datapath.set({**datapath.plan.knobs, **{name: read[name] for name in words}})
            facts = describe.plan_facts(datapath.plan)
            _log.info("policy: %s", facts["policy"])
            return facts

    def _detach(self) -> dict[str, Any]:
        """Returns when all is put back."""
        self.stop()
        self.over.wait()
        if self.failure is not None:
            raise self.failure
        return self._facts

    def _attached(self) -> Datapath:
        if self._datapath is None:
            raise OversprayError(f"{self.address} is being attached or detached: try again")
        return self._datapath

    def _compile(self, plan: Plan) -> None:
        """Have the unit ready. That a policy does not compile is a mistake of who named it."""
        require_for(plan)
        try:
            self._programs.unit(plan)
        except CompileError as error:
            raise BadInput(f"policy '{plan.policy.name}': {error}") from None

    def _allowed_at_first(self, overlay: Overlay) -> Overlay:
        allowed = self._gate.passed(overlay)
        if self._gate.shut:
            self._say_findings()
            count = len([each for each in self._gate.findings if each.severity == "rule"])
            raise OversprayError(
                f"{count} rules on the way to {len(self._gate.shut)} tunnels would be skipped on "
                f"{self.address}: remove them, or skip them with --bypass"
            )
        return allowed

    def _update(self, overlay: Overlay) -> None:
        """Serve what there is now, as far as it is allowed."""
        self._look_at = time.monotonic() + _LOOK_AGAIN
        datapath = self._datapath
        assert datapath is not None and self._served is not None
        if overlay.nic_ifindex != self._served.nic_ifindex:
            raise OversprayError(f"detached: {self.address} was replaced by another device")
        try:
            own = self._own(datapath)
            allowed = self._gate.passed(overlay, own)
            if self._gate.shut and (later := own | self._own(datapath)) != own:
                allowed = self._gate.passed(overlay, later)  # one of ours came while it looked
            with self._lock:
                datapath.update(allowed)
        except OversprayError as error:  # something has just gone: the next look is near
            _log.warning("not everything could be followed: %s", error)
            self._look_at = time.monotonic() + _TRY_AGAIN
            return
        refused = datapath.routes.refused.keys()
        if refused - self._refused:  # what stood in the way may be just going
            self._look_at = time.monotonic() + _TRY_AGAIN
        self._refused = set(refused)
        self._note(allowed)

    def _own(self, datapath: Datapath) -> frozenset[int]:
        """Ids of all tc programs on the NIC that are ours."""
        with self._lock:
            watching = {self._orderer.program} if self._orderer is not None else set()
            return datapath.on_nic | watching

    def _note(self, allowed: Overlay) -> None:
        """Say what is served now and was not before, and the other way round."""
        assert self._datapath is not None
        before = self._served
        table = self._datapath.routes.table
        served = replace(allowed, endpoints=frozenset(table))
        if before is not None:
            for line in describe.differences(before, served):
                _log.info("%s", line)
            self._say_findings()
        self._served = served
        refused = self._datapath.routes.refused.items()
        self._say_news(
            "not served, stock path", {f"{end.mac} in '{end.ns}': {why}" for end, why in refused}
        )
        if before is None or period(before) != period(served):
            self._refresh_at = time.monotonic() + (period(served) or float("inf"))

    def _say_findings(self) -> None:
        self._say_news("skipped", {str(finding) for finding in self._gate.findings})
        shut = self._gate.left_out.items()
        self._say_news("not served", {f"VNI {each.vni}: {why}" for each, why in shut})

    def _say_news(self, what: str, lines: set[str]) -> None:
        """Say what was not so when it was last looked at."""
        for line in sorted(lines - self._said.get(what, set())):
            _log.warning("%s: %s", what, line)
        self._said[what] = lines

    def _look_at_cores(self) -> None:
        """Say which workers have lost their core: the kernel does not bind them to it again."""
        assert self._datapath is not None
        self._cores_at = time.monotonic() + _CORES_AGAIN
        with self._lock:
            lost = self._datapath.unit.strayed()
        self._say_news(
            "not bound any more",
            {
                f"the worker of core {core}, which was taken offline, runs where there is room: "
                f"to bind it, detach and attach again"
                for core in lost
            },
        )

    def _refresh(self) -> None:
        assert self._served is not None
        self._refresh_at = time.monotonic() + (period(self._served) or float("inf"))
        try:
            refresh(self._served)
        except OversprayError as error:  # its namespace is going: the watch will tell
            _log.warning("forwarding entries could not be kept: %s", error)


def _in_order(some: Any, key: str = "vni") -> list[Any]:
    return sorted(some, key=lambda each: getattr(each, key))
