"""Stock settings: what is refused, and what the rest comes to, before any device is looked at."""

import re
from pathlib import Path

import pytest

from bench import cli_ab
from steering import cores
from steering.errors import BadInput
from steering.spec import Spec
from steering.stock import COALESCING, PATH, STEERING, check


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable", lambda: [0, 2, 3, 40])


def masks(text: str, nic_core: int = 0) -> dict[str, str]:
    return dict(check(Spec.parse(text), [], nic_core).masks)


@pytest.mark.parametrize(
    ("name", "where"), [("rps", "nic"), ("rps-vxlan", "vxlan"), ("rps-veth", "veth"), ("rfs-veth", "veth")]
)
def test_a_mask_is_of_all_cores_but_the_nics(name: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert masks(name) == {where: "1000000000c"}
    assert masks(name, nic_core=3) == {where: "10000000005"}
    assert masks(f"{name}:mask=d") == masks(f"{name}:mask=0xD") == {where: "d"}
    monkeypatch.setattr(cores, "usable", lambda: [2])
    assert masks(name, nic_core=2) == {where: "4"}


def test_devices_behind_the_first_hand_on_once_more() -> None:
    assert masks("rps:mask=1,vxlan=c,veth=4") == {"nic": "1", "vxlan": "c", "veth": "4"}
    assert masks("rps:veth=4") == {"nic": "1000000000c", "veth": "4"}
    assert masks("rps-vxlan:veth=4,mask=d") == {"vxlan": "d", "veth": "4"}
    with pytest.raises(
        BadInput, match="unknown knob of 'rps-vxlan' 'nic': choose from mask, netfilter, veth"
    ):
        masks("rps-vxlan:nic=1")


def test_rfs_is_rps_that_follows_the_reader() -> None:
    for name in STEERING:
        assert check(Spec(name), [], 0).follows == name.startswith("rfs")
    assert masks("rfs:mask=d,veth=4") == masks("rps:mask=d,veth=4")


def test_without_rps_there_are_no_masks() -> None:
    assert masks("none") == {}
    wanted = check(None, [], 0)
    assert (wanted.masks, wanted.features, wanted.netfilter) == ({}, frozenset(), False)
    assert check(None, [], 0, rps={"nic": "4"}).masks == {"nic": "4"}, "but those of a policy of ours"


def test_netfilter_is_off_unless_said() -> None:
    for name in STEERING:
        assert not check(Spec(name), [], 0).netfilter
        assert check(Spec(name, {"netfilter": "1"}), [], 0).netfilter


def test_coalescing_is_what_is_on() -> None:
    def features(*names: str) -> set[str]:
        return set(check(None, [Spec(name) for name in names], 0).features)

    assert features() == set()
    assert features("gro") == {"rx-gro"}
    assert features("gro-list") == {"rx-gro", "rx-gro-list"}
    assert features("udp-forward") == {"rx-gro", "rx-udp-gro-forwarding"}
    assert features("threaded", "gro-list", "defer") == features("gro-list")


@pytest.mark.parametrize(
    "text", ["gro+gro-list", "udp-forward+gro", "defer+defer:usecs=9", "threaded+threaded"]
)
def test_of_the_gro_kinds_there_is_one_and_of_the_others_one_each(text: str) -> None:
    with pytest.raises(
        BadInput, match="choose one of gro, gro-list, udp-forward, and any other once"
    ) as said:
        check(None, [*map(Spec.parse, text.split("+"))], 0)
    assert f"'{text}'" in str(said.value)


def test_a_timer_polls_the_nic() -> None:
    def defer(*texts: str) -> dict[str, str]:
        return dict(check(None, [*map(Spec.parse, texts)], 0).defer)

    assert defer() == defer("gro") == {}
    assert defer("defer:usecs=50,irqs=3") == {"gro_flush_timeout": "50000", "napi_defer_hard_irqs": "3"}
    assert defer("defer") == {"gro_flush_timeout": "20000", "napi_defer_hard_irqs": "1"}


def test_threads_poll_the_nic_beside_its_core() -> None:
    def threads(*texts: str, nic_core: int = 0) -> str:
        return check(None, [*map(Spec.parse, texts)], nic_core).threads

    assert threads() == threads("gro") == ""
    assert threads("threaded") == "1000000000c"
    assert threads("gro", "threaded", nic_core=3) == "10000000005"
    assert threads("threaded:mask=9") == "9"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spread", "unknown stock steering 'spread': choose from none, rfs, rfs-veth, rfs-vxlan, rps"),
        ("rss:ports=2", "ports=2 is out of range: choose from 0 to 1"),
        ("rss:mask=2", "core 1 is not to be used here: choose from 0,2-3,40"),
        ("rps:mask=2", "core 1 is not to be used here: choose from 0,2-3,40"),
        ("rps:mask=0", "mask=0: write cores as a hexadecimal mask"),
        ("rps:mask=all", "mask=all: write cores as a hexadecimal mask"),
        ("none:mask=1", "unknown knob of 'none' 'mask': choose from netfilter"),
        ("rps:cores=1", "unknown knob of 'rps' 'cores': choose from mask, netfilter, veth, vxlan"),
        ("rps:veth=2", "core 1 is not to be used here"),
        ("none:netfilter=2", "netfilter=2 is out of range: choose from 0 to 1"),
    ],
)
def test_steering_that_does_not_exist_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check(Spec.parse(text), [], 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lro", "unknown coalescing 'lro': choose from defer, gro, gro-list, threaded"),
        ("defer:usecs=0", "usecs=0 is out of range: choose from 1 to 1000000 µs"),
        ("threaded:mask=2", "core 1 is not to be used here"),
        ("gro:us=1", "unknown knob of 'gro' 'us': choose from none"),
    ],
)
def test_coalescing_that_does_not_exist_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check(Spec("none"), [Spec.parse(text)], 0)


def test_what_is_for_a_device_that_there_is_not_is_refused() -> None:
    for text, path in (
        ("rps-vxlan", PATH[:1]),
        ("rfs-veth", PATH[:1]),
        ("rps:vxlan=4", PATH[:1]),
        ("rps-veth", PATH[:2]),
        ("rps:netfilter=1", PATH[:2]),
    ):
        with pytest.raises(BadInput, match=f"'{text}' is for devices that this case does not have"):
            check(Spec.parse(text), [], 0, path)
    for text in ("none", "rps", "rfs", "rps:netfilter=0"):
        check(Spec.parse(text), [], 0, PATH[:1])
    check(Spec.parse("rps:vxlan=4"), [], 0, PATH[:2])


def test_help_and_docs_list_each() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/measuring.md").read_text()
    for name, stock in (*STEERING.items(), *COALESCING.items()):
        assert re.search(rf"\b{name}\b", cli_ab.ab.__doc__ or ""), name
        assert re.search(rf"`\+?{name}`", page), name
        assert all(f"`{knob}`" in page or f"`{knob}=" in page for knob in stock.knobs), name


def test_each_says_what_it_is() -> None:
    for stock in (*STEERING.values(), *COALESCING.values()):
        assert stock.summary and all(knob.help for knob in stock.knobs.values())


def test_rss_has_a_queue_for_each_core_that_may_be_used_or_is_named() -> None:
    found = check(Spec("rss"), [], 0)
    assert (found.queues, found.ports, dict(found.masks)) == ((0, 2, 3, 40), True, {})
    named = check(Spec.parse("rss:mask=9,ports=0,vxlan=4"), [], 0)
    assert (named.queues, named.ports, dict(named.masks)) == ((0, 3), False, {"vxlan": "4"})
    assert check(Spec("rps"), [], 0).queues == ()
