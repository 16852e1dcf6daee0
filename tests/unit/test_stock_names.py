"""Names and knobs of stock settings: what is allowed, and one line for what is not."""

import os

import pytest

from bench.variant import STOCK_STEERING
from steering import stock
from steering.errors import BadInput
from steering.spec import Spec


def check(text: str) -> None:
    steering, *coalescing = (Spec.parse(part) for part in text.split("+"))
    stock.check(steering, coalescing)


@pytest.mark.parametrize(
    "text",
    [
        "none",
        "rss:tuple=2",
        "rps:mask=1",
        "rps-vxlan+gro-list",
        "rps-veth:mask=1+gro:container=0+threaded+netfilter",
        "rfs:entries=4096+defer:us=100,polls=1",
        "none+udp-forward:nic=0,tunnel=1+gro-off",
    ],
)
def test_allowed(text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rpz", "choose from none, rfs, rps"),
        ("none+grow", "choose from budget, defer, gro"),
        ("none:mask=1", "knob"),
        ("rps:mask=0", "core"),
        ("rps:mask=xyz", "hexadecimal"),
        (f"rps:mask={1 << (os.cpu_count() or 1):x}", "core that is not here"),
        ("rss:tuple=3", "choose 2"),
        ("rss:tuple=5", "range"),
        ("none+gro-list:nic=2", "range"),
    ],
)
def test_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        check(text)
    assert "\n" not in str(caught.value)


def test_a_mask_is_hexadecimal() -> None:
    mask = stock.STEERING["rps"].knobs["mask"]
    every = (1 << (os.cpu_count() or 1)) - 1
    assert mask.read("mask", f"{every:x}") == every
    assert mask.default == (every & ~1 or 1)


def test_variants_know_the_same_names() -> None:
    assert set(stock.STEERING) == set(STOCK_STEERING) - {"stock-best"}


def test_everything_says_what_it_is() -> None:
    for each in (*stock.STEERING.values(), *stock.COALESCING.values()):
        assert each.summary and all(knob.help and knob.unit for knob in each.knobs.values())
