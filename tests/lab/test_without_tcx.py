"""A kernel without tcx links (before 6.6): `veth` serves containers, the rest is refused in a line.

Pretended here; on real ones it is asked by `make matrix`.
"""

from collections.abc import Iterator

import pytest
from talk import Talk, attached, numbered, plan

from bench import lab as labs
from bench.lab_plan import Lab
from steering import bpf
from steering.controller import Controller, Wish
from steering.errors import BadInput, OversprayError
from steering.trial import trials

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def no_tcx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpf, "has_tcx", lambda: False)
    create = bpf.link_create

    def link_create(program: int, ifindex: int, kind: int, flags: int = 0) -> int:
        assert kind not in (bpf.ATTACH_TCX_INGRESS, bpf.ATTACH_TCX_EGRESS)
        return create(program, ifindex, kind, flags)

    monkeypatch.setattr(bpf, "link_create", link_create)


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with labs.held(labs.LabSpec(getattr(request, "param", "docker"), "notcx")) as made:
        yield made


def test_veth_delivers(lab: Lab) -> None:
    with attached(lab, plan("roundrobin:deliver=veth")) as datapath, Talk(lab) as talk:
        assert sorted(talk.send(numbered(20))) == numbered(20)
        steer = datapath.totals().steer
        assert steer["local"] == steer["remote"] == 10
        assert datapath.on_nic


def test_a_controller_is_watched_without_the_order(lab: Lab) -> None:
    wish = Wish(lab.nic, lab.host_ns, plan("local:deliver=veth"))
    controller = Controller(wish)
    with controller.in_place(), Talk(lab) as talk:
        talk.send(numbered(5))
        [core] = controller.answer({"do": "sample"})["cores"][:1]
        assert core["steer"]["local"] == 5 and core["order"] == {}
        # A swap that can't be is refused before anything is compiled for it.
        with pytest.raises(BadInput, match="keeps the delivery"):
            controller.answer({"do": "swap", "policy": "pin:deliver=peer"})
        assert len(controller._programs._units) == 1


@pytest.mark.parametrize(
    ("text", "instead"), [("local", "add deliver=veth"), ("safe", "choose another policy")]
)
def test_peer_is_refused(lab: Lab, text: str, instead: str) -> None:
    said = (
        rf"policy '{text}' by the delivery 'peer': it needs tcx links \(Linux 6\.6\).*: {instead}$"
    )
    with pytest.raises(OversprayError, match=said), attached(lab, plan(text)):
        pass


@pytest.mark.parametrize("lab", ["linux"], indirect=True)
def test_a_tunnel_without_containers_is_refused(lab: Lab) -> None:
    said = r"no container can be served: 'vxlan.*' is reached over tcx links \(Linux 6\.6\) only$"
    with pytest.raises(OversprayError, match=said), attached(lab, plan("local:deliver=veth")):
        pass


def test_doctor_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert {probe.name: probe.ok for probe in trials()}["tcx links"] == bpf.has_tcx()
