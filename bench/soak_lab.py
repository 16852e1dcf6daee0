"""What comes and goes in a soak: containers of a lab, whole or only their link."""

import time
from collections import Counter

from pyroute2 import IPRoute

from bench import lab_build
from bench.lab_plan import Endpoint, Lab
from bench.sinks import CountSink
from steering import netns, rtnetlink
from steering.errors import OversprayError

_PATIENCE = 20.0


class Containers:
    """The containers of a lab: which are there, and those that were given what is not theirs."""

    def __init__(self, lab: Lab, sink: CountSink) -> None:
        self.lab = lab
        self.sink = sink
        self.here = set(range(len(lab.endpoints)))
        self.cycles: Counter[str] = Counter()
        self.misdelivered = 0
        self._links: set[int] = set()
        self._strange = dict.fromkeys(self.here, 0)

    def go(self, number: int, whole: bool) -> None:
        """A container goes: its link, or all of it. Nobody sends to it any more."""
        end = self.lab.endpoints[number]
        self._look(number)
        self.here.discard(number)
        if not whole:
            self._links.add(number)
            _set(end.host_netns, end.host_device, state="down")
            return
        self.sink.deafen(number)
        with netns.entered(end.host_netns), IPRoute() as route:
            route.link("del", index=route.link_lookup(ifname=end.host_device)[0])
        netns.remove(end.netns)

    def come(self, number: int) -> None:
        """It comes back, and takes packets when this returns."""
        end = self.lab.endpoints[number]
        whole = number not in self._links
        if whole:
            self._await_gone(end)
            lab_build.make_namespace(self.lab.spec, end.netns)
            lab_build.make_container(self.lab, end)
            self.sink.listen(number)
            self._strange[number] = 0
        else:
            _set(end.host_netns, end.host_device, state="up")
            self._links.discard(number)
        lab_build.settle_container(self.lab, end)
        self.here.add(number)
        self.cycles["containers" if whole else "links"] += 1

    def strangers(self) -> int:
        """Packets for other MACs that containers have been handed, of all that ever were."""
        for number in self.here:
            self._look(number)
        return self.misdelivered

    def _look(self, number: int) -> None:
        end = self.lab.endpoints[number]
        with netns.entered(end.netns):
            now = rtnetlink.strangers(end.device)
        self.misdelivered += now - self._strange[number]
        self._strange[number] = now

    def _await_gone(self, end: Endpoint) -> None:
        """The namespace's name is free at once; its devices went before it."""
        limit = time.monotonic() + _PATIENCE
        while netns.exists(end.netns) or end.host_device in lab_build.devices_of(end.host_netns):
            if time.monotonic() > limit:
                raise OversprayError(f"soak: '{end.netns}' does not go: type 'overspray lab down'")
            time.sleep(0.005)


def _set(ns: str, device: str, **attributes: object) -> None:
    with netns.entered(ns), IPRoute() as route:
        route.link("set", index=route.link_lookup(ifname=device)[0], **attributes)
