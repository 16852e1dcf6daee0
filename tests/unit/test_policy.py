"""Policies and plans: what a person writes, and what is said of mistakes."""

from pathlib import Path

import pytest

from steering import cores, plan, policy
from steering.errors import BadInput
from steering.plan import Delivery
from steering.policy import Order
from steering.spec import Spec

NIC_CORE = cores.usable()[0]


def read(text: str) -> plan.Plan:
    return plan.read(Spec.parse(text), NIC_CORE)


def test_the_shelf() -> None:
    orders = {name: policy.find(Spec.parse(name)).order for name in policy.names()}
    assert orders == {
        "adaptive": Order.CELL,
        "backlog": Order.CELL,
        "flowcell": Order.CELL,
        "hash": Order.STRICT,
        "elephant": Order.CELL,
        "flowlet": Order.CELL,
        "local": Order.STRICT,
        "pin": Order.STRICT,
        "roundrobin": Order.UNORDERED,
        "safe": Order.STRICT,
        "stage": Order.CELL,
        "twochoice": Order.CELL,
    }


@pytest.mark.parametrize("name", policy.names())
def test_every_policy_says_what_it_is_and_keeps_its_defaults_in_range(name: str) -> None:
    found = policy.find(Spec.parse(name))
    assert found.summary and found.good and found.drowns
    for key, knob in found.knobs.items():
        assert knob.read(key, str(knob.default)) == knob.default
        assert knob.unit and knob.help
    text = found.header.read_text()
    for part in ("Order:", "Good:", "Drowns:", "Cost:", "Races:"):
        assert part in text.partition("*/")[0], part


def test_a_plan_has_every_knob() -> None:
    made = read("backlog:limit=64,deliver=veth,queue=512")
    assert dict(made.knobs) == {"cell": 64, "limit": 64}
    assert (made.delivery, made.queue) == (Delivery.VETH, 512)
    assert made.workers == tuple(core for core in cores.usable() if core != NIC_CORE)


def test_plans_that_differ_in_knobs_share_a_unit() -> None:
    assert read("backlog:limit=64").key == read("backlog:cell=1,deliver=veth").key
    assert read("local").key == read("local:stack=1").key
    assert read("backlog").key != read("flowcell").key
    assert read("backlog").key != read("backlog:queue=64").key


def test_what_follows_gro_is_handed_on_by_the_last_device_that_merges() -> None:
    mask = f"{1 << NIC_CORE:x}"
    assert read("pin").rps == read("pin:deliver=veth").rps == {}
    assert read(f"pin:stack=0x{mask}").rps == {"nic": mask}
    assert read(f"pin:deliver=veth,stack={mask}").rps == {"veth": mask}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("spread", f"unknown policy 'spread': choose from {', '.join(policy.names())}"),
        ("backlog:size=3", "unknown knob of policy 'backlog' 'size': choose from cell, deliver, limit, mask"),
        ("backlog:cell=0", "cell=0 is out of range: choose from 1 to 4096 packets"),
        ("backlog:cell=many", "cell=many: a number in packets is wanted"),
        ("local:deliver=post", "unknown delivery 'post': choose from peer, veth"),
        ("local:mask=0", "mask=0: write cores as a hexadecimal mask of at least one"),
        ("local:mask=8000000000000000", "core 63 is not to be used here: choose from"),
        ("local:queue=1", "queue=1 is out of range: choose from 64 to 16384 packets"),
        ("local:stack=0", "stack=0: write cores as a hexadecimal mask of at least one"),
        ("local:stack=8000000000000000", "core 63 is not to be used here: choose from"),
        ("@nowhere", "no policy in 'nowhere': policy.py is missing"),
    ],
)
def test_mistakes_are_one_line_that_names_what_is_allowed(text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        read(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("POLICY = 3", "defines no POLICY = Policy"),
        ("1 / 0", "ZeroDivisionError"),
        ("def", "SyntaxError"),
    ],
)
def test_a_policy_of_ones_own_that_is_none(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "policy.py").write_text(text)
    (tmp_path / "policy.h").write_text("")
    with pytest.raises(BadInput, match=told):
        read(f"@{tmp_path}")
