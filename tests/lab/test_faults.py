"""Every fault of tests/faults at a few moments; `make faults` does a hundred of each."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attached import ATT, missing, plan, traffic

from bench import lab as labs
from bench.sinks import CountSink
from bench.wire import Wire
from steering import bpf
from steering.datapath import Datapath
from steering.overlay import discovered
from steering.undo import Changes

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from fault import Fault
from outside import set_link
from stage import Stage
from table import faults

pytestmark = [pytest.mark.root, pytest.mark.slow]
MOMENTS = 2
# A core that goes takes other tests' threads along: only when it is asked for.
HERE = [each for each in faults() if each.name != "core"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.mark.parametrize("fault", HERE, ids=lambda each: each.name)
def test_a_fault_at_random_moments(stage: Stage, fault: Fault) -> None:
    if cannot := fault.why_not():
        pytest.skip(f"host cannot: {cannot}")
    for seed in range(MOMENTS):
        assert not stage.moment(fault, seed).problems, seed


def test_a_worker_that_has_left_its_core_is_counted() -> None:
    """As after its core was offline: what is taken out is known by the thread that does it."""
    with (
        labs.held(labs.LabSpec("docker", ATT)) as lab,
        discovered(lab.host_ns, lab.nic) as overlay,
        Changes() as changes,
        Wire(lab) as wire,
        CountSink(lab) as sink,
        Datapath(overlay, plan("flowcell:cell=8"), changes) as datapath,
    ):
        datapath.unit.module.put("worker_of_core", 1, bytes(4))
        with traffic(wire, sink, 5000):
            time.sleep(0.2)
        totals = datapath.totals()
        assert missing(wire, sink) == 0
        assert totals.done == totals.sent > 0
        assert datapath.unit.strayed() == []


def test_the_nic_stage_runs_only_behind_the_highest_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a controller that is killed in attaching lets go of it after the deliveries."""
    create, update = bpf.link_create, bpf.link_update
    made: list[int] = []
    put: list[tuple[int, int]] = []

    def link_create(program: int, ifindex: int, kind: int, flags: int = 0) -> int:
        if kind == bpf.ATTACH_XDP:
            made.append(bpf.prog_info(program)[0])
        return create(program, ifindex, kind, flags)

    def link_update(link: int, program: int) -> None:
        assert link == max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        put.append((link, bpf.prog_info(program)[0]))
        update(link, program)

    monkeypatch.setattr(bpf, "link_create", link_create)
    monkeypatch.setattr(bpf, "link_update", link_update)
    with (
        labs.held(labs.LabSpec("docker", ATT)) as lab,
        discovered(lab.host_ns, lab.nic) as overlay,
        Changes() as changes,
        Datapath(overlay, plan("local"), changes) as datapath,
    ):
        steer = bpf.prog_info(datapath.unit.program)[0]
        assert steer not in made
        assert put == [(datapath._links[-1], steer)]


def test_what_a_worker_can_not_deliver_has_a_name() -> None:
    with (
        labs.held(labs.LabSpec("docker", ATT)) as lab,
        discovered(lab.host_ns, lab.nic) as overlay,
        Changes() as changes,
        Wire(lab) as wire,
        CountSink(lab) as sink,
        Datapath(overlay, plan("pin:deliver=veth"), changes) as datapath,
    ):
        with traffic(wire, sink, 5000):
            end = lab.endpoints[0]
            set_link(end.host_netns, end.host_device, state="down")
            time.sleep(0.1)
        lost = missing(wire, sink)
        assert datapath.totals().deliver["drop_device"] == lost > 0
