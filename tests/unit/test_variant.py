"""The text of a variant, and what is said of mistakes in it."""

import pytest

from bench.cli import run
from bench.variant import Variant
from steering import cores, doctor
from steering.errors import BadInput

NIC_CORE = cores.usable()[0]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("none", "docker/none"),
        ("native/none", "native/none"),
        ("flannel/rps-vxlan:mask=2+gro", "flannel/rps-vxlan:mask=2+gro"),
        ("backlog:limit=192,cell=64+gro-list", "docker/backlog:cell=64,limit=192+gro-list"),
        ("@some/where:knob=1", "docker/@some/where:knob=1"),
        (
            "rps:veth=1,mask=1+udp-forward+defer:usecs=50",
            "docker/rps:mask=1,veth=1+udp-forward+defer:usecs=50",
        ),
        (" flannel/none:netfilter=1 ", "flannel/none:netfilter=1"),
    ],
)
def test_it_reads_and_writes(text: str, whole: str) -> None:
    variant = Variant.parse(text)
    assert str(variant) == whole
    assert Variant.parse(whole) == variant


def test_stock_and_ours_are_told_apart() -> None:
    assert Variant.parse("rps").is_stock
    assert not Variant.parse("local").is_stock
    assert Variant.parse("local").stock_steering is None


def test_what_the_doctor_must_find() -> None:
    assert Variant.parse("none+gro").needs == ()
    assert Variant.parse("rps").needs == Variant.parse("rps-veth").needs == ("RPS",)
    assert Variant.parse("rfs-vxlan+gro").needs == ("RFS",)
    assert Variant.parse("none+threaded+defer").needs == ("threaded NAPI", "NAPI deferral")
    assert Variant.parse("rps+udp-forward").needs == ("RPS", "UDP forwarding")
    rows = {row for text in ("rfs+threaded+defer", "rps+udp-forward") for row in Variant.parse(text).needs}
    assert rows <= {check.name for check in doctor._CHECKS}
    assert Variant.parse("local").needs == ("cpumap programs", "tc links")
    assert Variant.parse("local:deliver=veth").needs == ("cpumap programs",)
    assert Variant.parse("local:stack=1").needs == ("cpumap programs", "tc links", "RPS")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("moon/none", "unknown case 'moon': choose from docker, flannel, linux, native"),
        ("flannel/", "'flannel/' is no variant: write"),
        ("none+", "'none\\+' is no variant: write"),
        ("none+gro+gro", "'none\\+gro\\+gro' names a coalescing twice"),
        ("none+glue", "unknown coalescing 'glue': choose from defer, gro, gro-list, threaded"),
        ("none+defer+defer:usecs=9", "names a coalescing twice"),
        ("none+gro+udp-forward", "'gro\\+udp-forward': choose one of gro, gro-list, udp-forward"),
        (
            "spread",
            "unknown steering 'spread': choose from adaptive, backlog, elephant, ",
        ),
        ("local:cell=1", "unknown knob of policy 'local' 'cell': choose from deliver, mask, nice, queue"),
        ("none:mask=1", "unknown knob of 'none' 'mask': choose from netfilter"),
        ("rps:mask=0", "mask=0: write cores as a hexadecimal mask"),
        ("rps:mask=8000000000000000", "core 63 is not to be used here: choose from"),
        ("native/local", "'native/local': policies deliver into containers: choose case flannel or docker"),
        ("native/rps-vxlan", "devices that this case"),
        ("native/rps:veth=1", "'rps:veth=1' is for devices that this case does not have"),
        ("backlog:cell", "'cell' in 'backlog:cell' is not KEY=VALUE"),
    ],
)
def test_mistakes_name_the_thing_and_what_is_allowed(text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        Variant.parse(text).check(NIC_CORE)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("moon/none", "none"), "unknown case 'moon': choose from docker, flannel, linux, native"),
        (("none", "spread"), "unknown steering 'spread': choose from adaptive, backlog, elephant, "),
        (("none", "backlog:cell=0"), "cell=0 is out of range: choose from 1 to 4096 packets"),
        (("none", "local:mask=8000000000000000"), "core 63 is not to be used here: choose from"),
        (("none", "none", "--core", "4096"), "core 4096 is not to be used here: choose from"),
        (
            ("none", "none", "--rate", "fast"),
            "rate 'fast': choose full, search, best, or packets",
        ),
        (
            ("none", "none", "--rate", "99"),
            "rate '99': choose full, search, best, or packets",
        ),
        (("none", "none", "--seed", "-1"), "--seed"),
        (("none", "none", "--payload", "17"), "payload 17 is out of range: choose from 18 to 3350"),
        (
            ("none", "none", "--arrivals", "poisson"),
            "arrivals 'poisson' at full rate means nothing: give a rate",
        ),
        (("none", "none", "--shares", "1,x"), "shares '1,x': write whole numbers with commas between"),
        (("none", "none", "--payload", "1473"), "payload 1473 does not fit"),
        (("none", "none", "--mtu", "575"), "mtu 575 is out of range: choose from 576 to 9000"),
        (("none", "none", "--rounds", "0"), "rounds 0"),
        (("none", "none", "--seconds", "0"), "seconds 0"),
        (("flannel/none", "none", "--containers", "81"), "81 containers: choose from 1 to 80"),
    ],
)
def test_ab_says_in_one_line_what_can_not_be(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is made: no root is needed to be told."""
    assert run(["ab", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert told in said.err
    assert said.err.count("\n") == 1
