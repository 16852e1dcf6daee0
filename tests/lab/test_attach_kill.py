"""A controller killed at any moment: the host forwards as stock does at once, and is as it was."""

import os
import random
from collections.abc import Iterator

import pytest
from attached import (
    ATT,
    Shop,
    count_calls,
    forked,
    journals_of,
    kill_after,
    missing,
    plan,
    snapshot,
    sockets_of,
    traffic,
    until,
    whole_life,
)

from bench import lab as labs
from bench.lab_plan import Lab
from bench.sinks import CountSink
from bench.wire import Wire
from steering import control, controller
from steering.undo import recover

pytestmark = [pytest.mark.root, pytest.mark.slow]
DELIVERIES = ("peer", "veth")
MOMENTS = 12
"""Of each delivery."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with labs.held(labs.LabSpec("docker", ATT)) as made:
        yield made


@pytest.fixture(scope="module")
def wire(lab: Lab) -> Iterator[Wire]:
    with Wire(lab) as one:
        yield one


@pytest.fixture(scope="module")
def sink(lab: Lab) -> Iterator[CountSink]:
    with CountSink(lab) as one:
        yield one


@pytest.fixture(scope="module", params=DELIVERIES)
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    plans = (plan(f"{name}:deliver={request.param}") for name in ("backlog", "flowcell"))
    with Shop(*plans) as made:
        yield made


def forwards(sink: CountSink) -> bool:
    """Whether packets arrive now. 200 of them are 10 ms."""
    before = sink.counts().delivered
    until(lambda: sink.counts().delivered > before + 200, seconds=2)
    return True


def next_command() -> None:
    control.sweep()
    recover()


def test_killed_at_any_moment(lab: Lab, wire: Wire, sink: CountSink, shop: Shop) -> None:
    plans = shop.plans
    before = snapshot(lab)
    read, write = os.pipe()
    whole = forked(
        lambda: void(os.write(write, b"%d" % count_calls(lambda: whole_life(shop, lab, plans))))
    )
    whole.join()
    calls = int(os.read(read, 20))
    assert (whole.exitcode, snapshot(lab)) == (0, before)
    chance = random.Random(f"{plans[0].delivery}")
    for _ in range(MOMENTS):
        moment = chance.randrange(calls)

        def doomed(moment: int = moment) -> None:
            os.read(read, 1)
            kill_after(moment)
            whole_life(shop, lab, plans)

        process = forked(doomed)
        with traffic(wire, sink):
            os.write(write, b"1")
            process.join()
            assert forwards(sink), moment
            next_command()
            assert snapshot(lab) == before, moment
            assert not journals_of(process.pid), moment
            assert not sockets_of(lab), moment


def test_killed_while_attached_loses_nothing(
    lab: Lab, wire: Wire, sink: CountSink, shop: Shop
) -> None:
    """But what was on its way to a worker just then."""
    read, write = os.pipe()
    go, gone = os.pipe()
    before = snapshot(lab)
    knobs = shop.plans[0].knobs
    queued = knobs["limit"] + knobs["cell"]  # at most; a busy worker may have been behind

    def attached() -> None:
        shop.open()
        wish = controller.Wish(lab.nic, lab.host_ns, shop.plans[0])
        os.read(go, 1)
        controller.run(wish, lambda _: void(os.write(write, b"1")))

    for _ in range(5):
        process = forked(attached)
        with traffic(wire, sink):
            os.write(gone, b"1")
            os.read(read, 1)
            assert forwards(sink)
            process.kill()
            process.join()
            assert forwards(sink)
        next_command()
        assert snapshot(lab) == before
        assert missing(wire, sink) <= queued


def void(_: object) -> None:
    """Nothing, for a lambda of type None."""
