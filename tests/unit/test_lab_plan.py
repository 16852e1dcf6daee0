"""The lab's plan: a pure function of its spec."""

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.lab import LabSpec, plan, up
from bench.lab_plan import MAX_MTU
from bench.variant import CASES
from steering.errors import BadInput, OversprayError


def test_queues_default_to_one_for_each_core() -> None:
    assert LabSpec(case="docker").queue_count == (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("case", "namespaces"),
    [
        ("native", ["osp-native-wire", "osp-native-host"]),
        ("linux", ["osp-linux-wire", "osp-linux-host"]),
        ("flannel", ["osp-flannel-wire", "osp-flannel-host", "osp-flannel-c0"]),
        (
            "docker",
            ["osp-docker-wire", "osp-docker-host", "osp-docker-overlay", "osp-docker-c0"],
        ),
    ],
)
def test_namespaces_are_called_after_lab_and_case(case: str, namespaces: list[str]) -> None:
    assert plan(LabSpec(case=case)).namespaces == namespaces


@given(
    case=st.sampled_from(CASES),
    outer=st.sampled_from([4, 6]),
    inner=st.sampled_from([4, 6]),
    containers=st.integers(1, 80),
)
def test_addresses_are_distinct(case: str, outer: int, inner: int, containers: int) -> None:
    spec = LabSpec(case=case, outer=outer, inner=inner)
    if spec.has_containers:
        spec = LabSpec(case=case, outer=outer, inner=inner, containers=containers)
    lab = plan(spec)
    assert len(lab.endpoints) == spec.containers
    for key in ("ip", "peer_ip", "mac"):
        assert len({getattr(end, key) for end in lab.endpoints}) == spec.containers
    assert all((":" in end.ip) == (inner == 6) for end in lab.endpoints)
    assert (":" in lab.vtep_ip) == (spec.underlay == 6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"case": "docket"}, "choose from docker"),
        ({"name": "Lab"}, "no lab name"),
        ({"name": "a/b"}, "no lab name"),
        ({"containers": 0}, "from 1 to 80"),
        ({"containers": 81}, "from 1 to 80"),
        ({"case": "linux", "containers": 2}, "no containers"),
        ({"queues": 0}, "out of range"),
        ({"mtu": MAX_MTU + 1}, f"to {MAX_MTU}"),
        ({"mtu": 600}, "from 626"),
        ({"mtu": 1349, "outer": 6, "inner": 6}, "from 1350"),
        ({"outer": 5}, "choose from 4, 6"),
        ({"vni": 1 << 24}, "out of range"),
    ],
)
def test_bad_input(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        LabSpec(**{"case": "docker", **settings})
    assert "\n" not in str(caught.value)


def test_inner_mtu_leaves_room_for_the_tunnel() -> None:
    assert LabSpec(case="native", mtu=1500).inner_mtu == 1500
    assert LabSpec(case="linux", mtu=1500).inner_mtu == 1450
    assert LabSpec(case="docker", mtu=1500, outer=6).inner_mtu == 1430


def test_without_root_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(OversprayError, match="needs root"):
        up(LabSpec(case="native", name="tlab"))
