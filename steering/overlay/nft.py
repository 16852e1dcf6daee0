"""Reads a namespace's nftables rules into the form of :mod:`steering.overlay.ruleset`."""

from typing import Any

from pyroute2.netlink import NETLINK_NETFILTER
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg
from pyroute2.netlink.nfnetlink.nftsocket import (
    NFT_MSG_GETCHAIN,
    NFT_MSG_GETRULE,
    NFT_MSG_NEWCHAIN,
    NFT_MSG_NEWRULE,
    nft_chain_msg,
    nft_rule_msg,
)
from pyroute2.netlink.nlsocket import Marshal

from steering.overlay.namespaces import HeldNamespace
from steering.overlay.netlink import Netlink
from steering.overlay.ruleset import COUNTING_TARGETS, Hook, Rule, Ruleset, Test
from steering.overlay.xtables import match_tests

FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_SUBSYSTEM = NFNL_SUBSYS_NFTABLES << 8
_BASES = {
    "NFT_PAYLOAD_LL_HEADER": "link",
    "NFT_PAYLOAD_NETWORK_HEADER": "network",
    "NFT_PAYLOAD_TRANSPORT_HEADER": "transport",
}
_META = {
    "NFT_META_IIFNAME": "iifname",
    "NFT_META_OIFNAME": "oifname",
    "NFT_META_L4PROTO": "l4proto",
    "NFT_META_NFPROTO": "nfproto",
    "NFT_META_PROTOCOL": "ethertype",
}
_VERDICTS = {
    "NF_DROP": "drop",
    "NF_ACCEPT": "accept",
    "NFT_JUMP": "jump",
    "NFT_GOTO": "goto",
    "NFT_RETURN": "return",
}
# What only decides whether the rule goes on. All that is in no list does something to the packet.
_CONDITIONS = frozenset(
    ["lookup", "ct", "fib", "rt", "socket", "osf", "hash", "numgen", "xfrm", "exthdr", "inner"]
) | frozenset(["limit", "quota", "connlimit", "byteorder"])
_COUNTS = frozenset(["counter", "log", "last", "objref"])

Operand = tuple[str, int, int, bytes] | None
"""What a register holds: (part, offset, length, mask), or None where we cannot tell."""


class _Marshal(Marshal):  # type: ignore[misc]
    msg_map = {  # noqa: RUF012 - pyroute2's own form
        _SUBSYSTEM | NFT_MSG_NEWCHAIN: nft_chain_msg,
        _SUBSYSTEM | NFT_MSG_NEWRULE: nft_rule_msg,
    }


def read_nftables(ns: HeldNamespace) -> Ruleset:
    """All chains and rules of a namespace.

    Raises:
        OSError, NetlinkError: this kernel has no nftables.
    """
    with Netlink(ns, NETLINK_NETFILTER, marshal=_Marshal()) as netlink:
        chains = netlink.dump(_SUBSYSTEM | NFT_MSG_GETCHAIN, nfgen_msg())
        rules = netlink.dump(_SUBSYSTEM | NFT_MSG_GETRULE, nfgen_msg())
    by_chain: dict[tuple[str, str, str], list[Rule]] = {}
    for message in rules:
        chain = message.get_attr("NFTA_RULE_CHAIN")
        key = (_family(message), message.get_attr("NFTA_RULE_TABLE"), chain)
        by_chain.setdefault(key, []).append(parse_rule(message))
    hooks = (parse_hook(message) for message in chains)
    return Ruleset("nftables", tuple(hook for hook in hooks if hook is not None), by_chain)


def _family(message: Any) -> str:
    return FAMILIES.get(message["nfgen_family"], str(message["nfgen_family"]))


def parse_hook(message: Any) -> Hook | None:
    """A chain that packets enter by itself; None for one that others jump to."""
    hook = message.get_attr("NFTA_CHAIN_HOOK")
    if hook is None:
        return None
    devices = {hook.get_attr("NFTA_HOOK_DEV")}
    if (listed := hook.get_attr("NFTA_HOOK_DEVS")) is not None:
        devices.update(listed.get_attrs("NFTA_DEVICE_NAME"))
    return Hook(
        family=_family(message),
        number=hook.get_attr("NFTA_HOOK_HOOKNUM"),
        table=message.get_attr("NFTA_CHAIN_TABLE"),
        chain=message.get_attr("NFTA_CHAIN_NAME"),
        drops_rest=message.get_attr("NFTA_CHAIN_POLICY") == 0,
        devices=frozenset(devices - {None}),
    )


def parse_rule(message: Any) -> Rule:
    """A rule: its expressions, run on registers that hold places in the packet."""
    reading = _Reading()
    for expression in message.get_attr("NFTA_RULE_EXPRESSIONS") or ():
        reading.take(expression.get_attr("NFTA_EXPR_NAME"), expression.get_attr("NFTA_EXPR_DATA"))
    handle, chain = (message.get_attr(f"NFTA_RULE_{what}") for what in ("HANDLE", "CHAIN"))
    return Rule(
        label=f"handle {handle} of {chain}",
        tests=tuple(reading.tests),
        unclear=reading.unclear,
        acts=reading.acts,
        counts=reading.counts,
        verdict=reading.verdict,
        target=reading.target,
    )


class _Reading:
    """What the expressions of one rule amount to."""

    def __init__(self) -> None:
        self._registers: dict[str, Operand] = {}
        self.tests: list[Test] = []
        self.unclear = False
        self.acts = ""
        self.counts = False
        self.verdict = ""
        self.target = ""

    def take(self, name: str, data: Any) -> None:
        """One more expression."""
        method = getattr(self, f"_take_{name}", None)
        if method is not None:
            method(data)
        elif name in _CONDITIONS:
            self._take_condition(name, data)
        elif name in _COUNTS:
            self.counts = True
        elif name != "notrack":
            self.acts = self.acts or name

    def _take_condition(self, name: str, data: Any) -> None:
        self.unclear = True
        register = data.get_attr(f"NFTA_{name.upper()}_DREG") if hasattr(data, "get_attr") else None
        if name == "lookup" and register == "NFT_REG_VERDICT":
            self.acts = self.acts or "verdict map"
        elif register is not None:
            self._registers[register] = None
        if name == "ct" and data.get_attr("NFTA_CT_SREG") is not None:
            self.acts = self.acts or "sets ct"

    def _take_meta(self, data: Any) -> None:
        if data.get_attr("NFTA_META_SREG") is not None:
            self.acts = self.acts or "mark"
            return
        part = _META.get(data.get_attr("NFTA_META_KEY"))
        operand = (part, 0, 16, b"\xff" * 16) if part is not None else None
        self._registers[data.get_attr("NFTA_META_DREG")] = operand

    def _take_payload(self, data: Any) -> None:
        if data.get_attr("NFTA_PAYLOAD_SREG") is not None:
            self.acts = self.acts or "rewrites"
            return
        part = _BASES.get(data.get_attr("NFTA_PAYLOAD_BASE"))
        offset, length = data.get_attr("NFTA_PAYLOAD_OFFSET"), data.get_attr("NFTA_PAYLOAD_LEN")
        operand = (part, offset, length, b"\xff" * length) if part is not None else None
        self._registers[data.get_attr("NFTA_PAYLOAD_DREG")] = operand

    def _take_bitwise(self, data: Any) -> None:
        operand = self._registers.get(data.get_attr("NFTA_BITWISE_SREG"))
        mask, flip = _value(data, "NFTA_BITWISE_MASK"), _value(data, "NFTA_BITWISE_XOR")
        if operand is not None and mask and not any(flip or b"\1"):
            operand = (operand[0], operand[1], len(mask), mask)
        else:
            operand = None
        self._registers[data.get_attr("NFTA_BITWISE_DREG")] = operand

    def _take_cmp(self, data: Any) -> None:
        operator = data.get_attr("NFTA_CMP_OP")
        value = _value(data, "NFTA_CMP_DATA") or b""
        inverted = operator == "NFT_CMP_NEQ"
        if operator in ("NFT_CMP_EQ", "NFT_CMP_NEQ"):
            self._compare(data.get_attr("NFTA_CMP_SREG"), value, value, inverted)
        else:
            self.unclear = True

    def _take_range(self, data: Any) -> None:
        low, high = _value(data, "NFTA_RANGE_FROM_DATA"), _value(data, "NFTA_RANGE_TO_DATA")
        inverted = data.get_attr("NFTA_RANGE_OP") == "NFT_RANGE_NEQ"
        self._compare(data.get_attr("NFTA_RANGE_SREG"), low or b"", high or b"", inverted)

    def _compare(self, register: str, low: bytes, high: bytes, inverted: bool) -> None:
        operand = self._registers.get(register)
        if operand is None or not low or len(low) != len(high):
            self.unclear = True
            return
        part, offset, _, mask = operand
        mask = mask[: len(low)].ljust(len(low), b"\xff")
        self.tests.append(Test(part, offset, low, high, mask, inverted))

    def _take_immediate(self, data: Any) -> None:
        verdict = data.get_attr("NFTA_IMMEDIATE_DATA").get_attr("NFTA_DATA_VERDICT")
        if verdict is None:
            self._registers[data.get_attr("NFTA_IMMEDIATE_DREG")] = None
            return
        code = verdict.get_attr("NFTA_VERDICT_CODE")
        self.verdict = _VERDICTS.get(code, "")
        self.target = verdict.get_attr("NFTA_VERDICT_CHAIN") or ""
        if code in ("NF_QUEUE", "NF_STOLEN"):
            self.acts, self.verdict = self.acts or "queue", "drop"

    def _take_match(self, data: Any) -> None:
        """An extension of iptables, in its own binary form."""
        info = bytes.fromhex((data.get_attr("NFTA_MATCH_INFO") or "").replace(":", ""))
        tests = match_tests(data.get_attr("NFTA_MATCH_NAME"), info)
        if tests is None:
            self.unclear = True
        else:
            self.tests += tests

    def _take_target(self, data: Any) -> None:
        name = data.get_attr("NFTA_TARGET_NAME")
        if name in COUNTING_TARGETS:
            self.counts = True
        else:
            self.acts = self.acts or name


def _value(data: Any, attribute: str) -> bytes | None:
    nested = data.get_attr(attribute)
    return None if nested is None else nested.get_attr("NFTA_DATA_VALUE")
