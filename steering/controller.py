"""What `overspray attach` runs: a policy attached to a NIC, and whoever asks about it, or wants another."""

import select
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from os import getpid
from typing import Any

from steering import attached, cores, discover, status
from steering.attach import Attachment, How
from steering.choice import Choice
from steering.chosen import choose
from steering.closing import Closing
from steering.control import Request, Server
from steering.errors import BadInput, OversprayError
from steering.events import Events
from steering.foreign import Foreign
from steering.guardian import guarded

Say = Callable[[str], None]
_KEPT = 50
"""Lines of what was said last that `overspray status` can still show."""
_REST_S = 1.0
"""At most, between two looks at a host where something changes all the time."""
MOST_WATCHING = 64
"""Each holds a descriptor for as long as it likes, and select(2) takes none beyond 1023."""
_SELDOM_S, _SHARE = 20.0, 0.005
"""Rules make no event, nor does what is in namespaces that the NIC's has no number for: so it looks again
after a while, which may take that share of a core. After a quick look it does so when it has rested."""


def _foreign(device: str) -> Foreign:
    return Foreign(choose(discover.discover(), device))


def put_right_with(foreign: Foreign) -> None:
    """What a controller leaves that is killed, and the program that it has taken off."""
    try:
        attached.put_right()
    finally:  # nobody else has it: the next command, which tries the rest again, could not
        foreign.put_back()


class Controller(Closing):
    """A policy attached to the overlays behind a NIC, from construction until :meth:`close`.

    Arguments and errors are those of `steering.attach.Attachment`.
    """

    def __init__(self, device: str, choice: Choice, how: How, say: Say) -> None:
        self._tell, self._said = say, deque[str](maxlen=_KEPT)
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._ending: Request | None = None
        self._watching: list[Request] = []
        self._xdp = "generic" if how.generic else "native"
        with ExitStack() as stack:
            attached.put_right()
            foreign = stack.enter_context(_foreign(device)) if how.force else None
            if foreign:
                # The guardian has it, too, and goes only when it is back.
                stack.enter_context(guarded(partial(put_right_with, foreign), foreign.program))
                foreign.take_off()
                stack.callback(foreign.put_back)
            else:
                stack.enter_context(guarded(attached.put_right))
            self._server = stack.enter_context(Server())
            self.attachment = stack.enter_context(Attachment(device, choice, how))
            self._open = stack.pop_all()
        workers = cores.form(sorted(self.attachment.datapath.plan.workers)) or "none"
        mode = status.mode(self._xdp)
        self.say(f"attached {choice} to '{device}'{mode}, workers on cores {workers}")
        for line in self.attachment.lines():
            self.say(line)

    def say(self, line: str) -> None:
        """To whoever started this, and to who asks later."""
        self._said.append(line)
        self._tell(line)

    def run(self, stop: int) -> None:
        """Serve what comes and goes, and do as one is asked, until asked to end, or until the descriptor
        ``stop`` can be read. OversprayError where the NIC is gone."""
        events = self.attachment.events
        looked = self._look()  # compiling took a while, and only since then are events heard
        due_at = looked + self._seldom_s()
        while not self._ending:
            now = time.monotonic()
            # Half of a core for looking, at most. Who asks is answered meanwhile.
            rest = max(0.0, looked + min(self.attachment.took_s, _REST_S) - now)
            due = max(0.0, due_at - now)
            heard: list[int | Server | Request | Events] = [stop, self._server, *self._watching]
            heard += [] if rest else [events]
            ready, _, _ = select.select(heard, [], [], min(rest or due, due))
            if stop in ready:
                return
            for gone in [each for each in self._watching if each in ready]:
                self._unwatch(gone)
            if self._server in ready and (request := self._server.take()):
                self._serve(request)
            if not due:
                looked = self._look()
                due_at = looked + self._seldom_s()
            elif events in ready and events.take():
                looked = self._look(quick=True)
                due_at = min(due_at, looked + _REST_S)

    def _seldom_s(self) -> float:
        return max(_SELDOM_S, self.attachment.took_s / _SHARE)

    def counted(self) -> dict[str, Any]:
        """All that was counted since attaching, for JSON; after :meth:`close` to the last frame."""
        return status.of_totals(self.attachment.datapath.totals())

    def close(self) -> None:
        """Detach, and tell who asked for that. Closing twice is harmless."""
        with ExitStack() as asked:
            ending = self._ending and asked.enter_context(self._ending)
            try:
                self._open.close()
            except OversprayError as error:
                if ending:
                    ending.refuse(error)
                raise
            finally:
                while self._watching:
                    self._watching.pop().close()
            if ending:
                ending.answer(self.counted())

    def _look(self, quick: bool = False) -> float:
        """When that was done, monotonic."""
        for line in self.attachment.refresh(quick):
            self.say(line)
        return time.monotonic()

    def _serve(self, request: Request) -> None:
        if request.words.get("ask") == "detach":
            self._ending = request
            return
        if request.words.get("ask") == "watch" and len(self._watching) < MOST_WATCHING:
            self._watch(request)
            return
        with request:
            try:
                request.answer(self._answer(request.words))
            except OversprayError as error:
                request.refuse(error)
            except (OSError, TypeError, ValueError) as error:  # nonsense, which must not end what others need
                request.refuse(BadInput(f"process {getpid()} can't do what is asked: {error}"))

    def _watch(self, request: Request) -> None:
        """Watch the packets' order for as long as whoever asks for it is there."""
        self._watching.append(request)
        self.attachment.datapath.watch(True)
        request.answer({})

    def _unwatch(self, gone: Request) -> None:
        self._watching.remove(gone)
        gone.close()
        self.attachment.datapath.watch(bool(self._watching))

    def _answer(self, words: Any) -> dict[str, Any]:
        match words:
            case {"ask": "status"}:
                return self._status()
            case {"ask": "swap", "policy": str(text)}:
                return self._swap(Choice.parse(text))
            case {"ask": "set", "knobs": dict(knobs)}:
                return self._swap(self.attachment.choice.having(knobs))
            case {"ask": "watch"}:
                raise OversprayError(f"{MOST_WATCHING} watch already: end an 'overspray top'")
        raise BadInput(f"process {getpid()} does not know what is asked: is it of another version?")

    def _swap(self, choice: Choice) -> dict[str, Any]:
        """The workers stay, unless other ones are named."""
        before = self.attachment.choice
        if "mask" in before.policy.args and "mask" not in choice.policy.args:
            choice = choice.having({"mask": before.policy.args["mask"]})
        self.attachment.swap(choice)
        self.say(f"swapped {before} for {choice}")
        return {"before": str(before), "policy": str(choice)}

    def _status(self) -> dict[str, Any]:
        now = self.attachment
        return {
            "pid": getpid(),
            "since": self._since,
            "device": now.nic.name,
            "namespace": now.nic.namespace.label,
            "policy": str(now.choice),
            "xdp": self._xdp,
            "watching": len(self._watching),
            "serving": [status.of_served(each) for each in now.overlays],
            **status.of_datapath(now.datapath),
            "said": list(self._said),
        }
