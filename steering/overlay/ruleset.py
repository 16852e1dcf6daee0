"""Would a packet filter have touched a packet? Rules as comparisons of bytes, and a walk over them.

nftables and legacy iptables are read into the same form. A sample packet has bytes that are known
and bytes that are not, so a rule matches it never, maybe, or always; where it is unclear, the
answer errs on the side of "maybe".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

Severity = Literal["rule", "note"]

COUNTING_TARGETS = frozenset(["LOG", "NFLOG", "ULOG", "TRACE", "AUDIT"])
"""Targets of iptables that only look at a packet."""


class Match(IntEnum):
    """Whether a rule takes a packet; of several conditions, the least holds."""

    NEVER = 0
    MAYBE = 1
    ALWAYS = 2


@dataclass(frozen=True)
class Sample:
    """What is known of a packet: ``parts`` maps the name of a header (``link``, ``network``,
    ``transport``) or of a fact (``iifname``, ``l4proto``, …) to bytes, None where unknown."""

    parts: Mapping[str, Sequence[int | None]]

    def read(self, part: str, offset: int, length: int) -> list[int | None]:
        """Some bytes of a part, as far as they are known."""
        have = list(self.parts.get(part, ()))[offset : offset + length]
        return have + [None] * (length - len(have))


@dataclass(frozen=True)
class Test:
    """A comparison: some bytes, masked, lie between ``low`` and ``high`` (or not: ``inverted``)."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    part: str
    offset: int
    low: bytes
    high: bytes
    mask: bytes
    inverted: bool = False

    def match(self, sample: Sample) -> Match:
        """Whether the packet passes it."""
        got = sample.read(self.part, self.offset, len(self.low))
        masked = [
            0 if bits == 0 else None if byte is None else byte & bits
            for byte, bits in zip(got, self.mask, strict=True)
        ]
        within = _between(self.low, masked, self.high)
        return Match(Match.ALWAYS - within) if self.inverted else within


def _between(low: bytes, value: Sequence[int | None], high: bytes) -> Match:
    """Whether ``low <= value <= high`` in network byte order, where some bytes are unknown."""
    least = bytes(0 if byte is None else byte for byte in value)
    most = bytes(255 if byte is None else byte for byte in value)
    known = [byte for byte in value if byte is not None]
    if low == high and any(
        byte is not None and byte != bound for byte, bound in zip(value, low, strict=True)
    ):
        return Match.NEVER
    if len(known) == len(value) or (low <= least and most <= high):
        return Match.ALWAYS if low <= least and most <= high else Match.NEVER
    return Match.NEVER if most < low or least > high else Match.MAYBE


def equals(part: str, offset: int, value: bytes, inverted: bool = False) -> Test:
    """The test for exactly these bytes."""
    return Test(part, offset, value, value, b"\xff" * len(value), inverted)


@dataclass(frozen=True)
class Rule:
    """A rule: its tests, whether it also asks what we cannot tell, and what it does.

    ``acts`` names what it does to a packet beyond the verdict (``dnat``, ``mark``, …), ``counts``
    says that it counts or logs it. ``verdict`` is accept, drop, jump, goto, return or nothing.
    """

    label: str
    tests: tuple[Test, ...] = ()
    unclear: bool = False
    acts: str = ""
    counts: bool = False
    verdict: str = ""
    target: str = ""

    def match(self, sample: Sample) -> Match:
        """Whether it takes the packet."""
        least = min((test.match(sample) for test in self.tests), default=Match.ALWAYS)
        return min(least, Match.MAYBE) if self.unclear else least


@dataclass(frozen=True)
class Hook:
    """Where packets enter a table: a chain, at a hook of a protocol family, maybe of a device."""

    family: str
    number: int
    table: str
    chain: str
    drops_rest: bool = False
    devices: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Ruleset:
    """The rules of a namespace by (family, table, chain), and where packets enter."""

    system: str
    hooks: tuple[Hook, ...] = ()
    chains: Mapping[tuple[str, str, str], Sequence[Rule]] = field(default_factory=dict)

    def findings(self, hook: Hook, samples: Iterable[Sample]) -> Iterator[tuple[Severity, str]]:
        """What of this hook's rules would have touched one of the packets, most serious first."""
        walk = _Walk(self, hook)
        for sample in samples:
            if not walk.ends(hook.chain, sample) and hook.drops_rest:
                walk.touched.setdefault("the policy (drop)")
        where = f"{self.system} {hook.family} {hook.table} {hook.chain}"
        if walk.touched:
            first, *rest = walk.touched
            more = f" and {len(rest)} more" if rest else ""
            yield "rule", f"{where}: {first}{more}"
        elif walk.counted:
            yield "note", f"{where}: counts or logs packets"


class _Walk:
    """One way through the chains from a hook, noting what may take hold of a packet."""

    def __init__(self, ruleset: Ruleset, hook: Hook) -> None:
        self._ruleset = ruleset
        self._hook = hook
        self.touched: dict[str, None] = {}
        self.counted = False

    def ends(self, chain: str, sample: Sample) -> bool:
        """Whether the packet's fate is surely decided in this chain (or one it leads to)."""
        for rule in self._ruleset.chains.get((self._hook.family, self._hook.table, chain), ()):
            match = rule.match(sample)
            if match is Match.NEVER:
                continue
            self.counted |= rule.counts
            what = rule.acts or ("drop" if rule.verdict == "drop" else "")
            if what:
                self.touched.setdefault(f"{rule.label} ({what})")
            sure = match is Match.ALWAYS
            if rule.verdict in ("jump", "goto"):
                ended = self.ends(rule.target, sample)
                if sure and (ended or rule.verdict == "goto"):
                    return ended
            elif sure and rule.verdict:
                return rule.verdict != "return"
        return False
