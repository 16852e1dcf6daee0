"""What a lab consists of, in each IP version."""

from ipaddress import ip_address

import pytest

from bench.frame import build
from bench.lab import planned
from bench.lab_plan import CASES, Plan
from steering.errors import BadInput


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
def test_addresses_are_of_the_version_and_all_different(case: str, inner: int, outer: int) -> None:
    plan = planned(case, 80, inner=inner, outer=outer)
    outside = [plan.wire_ip, plan.nic_ip]
    inside = [plan.peer_ip, *([each.ip for each in plan.containers] or [plan.host_ip])]
    assert {ip_address(each).version for each in outside} == {outer if plan.has_tunnel else inner}
    assert {ip_address(each).version for each in inside} == {inner}
    assert len({*outside, *inside}) == len(outside) + len(inside)
    # The wire counts up the last byte alone.
    last = [ip_address(each).packed[-1] for each in inside[1:]]
    assert last == list(range(1, len(last) + 1))


@pytest.mark.parametrize(
    ("case", "inner", "outer", "roles"),
    [
        ("native", 6, 4, {"wire", "host"}),
        ("linux", 6, 4, {"host"}),
        ("flannel", 6, 4, {"c0"}),
        ("docker", 4, 6, {"wire", "host"}),
        ("docker", 6, 6, {"wire", "host", "c0"}),
        ("docker", 4, 4, set()),
    ],
)
def test_ipv6_is_on_only_where_there_is_an_address(
    case: str, inner: int, outer: int, roles: set[str]
) -> None:
    plan = Plan(case, 1, inner, outer)
    assert {role for role in plan.roles if plan.has_ipv6(role)} == roles


def test_the_largest_datagram_leaves_room_for_the_headers_of_ipv6() -> None:
    plan = Plan("flannel", 1, 6, 6, inner_mtu=3400)
    assert len(build(plan, 3260).data) == 3392
    with pytest.raises(BadInput, match="choose 3260 or less"):
        build(plan, 3261)


@pytest.mark.parametrize(
    ("inner", "outer", "lowest"), [(4, 4, 576), (4, 6, 1180), (6, 4, 1280), (6, 6, 1280)]
)
def test_the_mtu_of_ipv6_is_1280_at_least(inner: int, outer: int, lowest: int) -> None:
    plan = Plan("docker", 1, inner, outer, inner_mtu=lowest)
    assert inner == 4 or plan.inner_mtu >= 1280
    assert outer == 4 or plan.mtu >= 1280
    with pytest.raises(BadInput, match=f"choose from {lowest} to 9000"):
        Plan("docker", 1, inner, outer, inner_mtu=lowest - 1)
