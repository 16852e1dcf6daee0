"""Differences that a long comparison once found, and the name under which each is known."""

from collections import Counter

import pytest

from bench.verify_known import Facts, explain
from bench.verify_moved import Places

FACTS = Facts(macs=frozenset(), mtu=1450)
OUTER = "020500000002020500000001080045000060000180000111ad64c6120001c6120002c00012b5004c7733"
SUM_OVER_MORE = (
    "0800000000002a0002050200000102050100000108004502002e00010000401163210a4d02010a4d0101"
    "0406000900{size}{sum}f76f53700000c77a00010203040506070809"
)
ROWS = [
    ("an outer checksum, so stock has no GRO", "12", "bda3", "ours", "f76f53700000c77a0001"),
    ("cut off within its number", "0c", "bda9", "stock", "f76f5370"),
]


@pytest.mark.parametrize(("size", "checksum", "by", "got"), [row[1:] for row in ROWS])
def test_a_checksum_over_more_than_the_datagram(
    size: str, checksum: str, by: str, got: str
) -> None:
    frame = bytes.fromhex(OUTER + SUM_OVER_MORE.format(size=size, sum=checksum))
    told = bytes.fromhex(got) + b" | ('::ffff:10.77.2.1', 1030) | 1:02"
    sights = Counter({("c0 socket", told): 1})
    missing, more = (sights, Counter()) if by == "stock" else (Counter(), sights)
    assert explain([frame], missing, more, FACTS, Places()) == (
        Counter({"checksum over more": 1}),
        Counter(),
        Counter(),
    )
