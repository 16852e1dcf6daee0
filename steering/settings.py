"""One class for each kind of setting that a running system has: how it is read, how written.

Each acts in the network namespace the calling thread is in (:mod:`steering.netns`); a class says
with ``needs_sysfs`` that it also needs that namespace's own /sys. Values are plain text or numbers
in one canonical form, so that what was written can be compared with what is read back.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from steering import ethtool, rtnetlink
from steering.errors import BadInput, OversprayError

GRO_SIZES = (58, 64)
"""IFLA_GRO_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE; pyroute2 0.9 does not know the latter."""

Value = str | int | bool | list[int]
_MASKS = ("rps_cpus", "xps_cpus", "xps_rxqs")


class Setting(Protocol):
    """Something that has a value on this host and can be given another."""

    needs_sysfs: ClassVar[bool]

    @property
    def device(self) -> str | None:
        """The device it belongs to, if any: when that is gone there is nothing to put back."""

    def canonical(self, value: Value) -> Value:
        """The form in which a value is read back."""

    def read(self) -> Value:
        """The present value. BadInput where there is no such setting."""

    def write(self, value: Value) -> None:
        """Set it. OversprayError where the kernel refuses."""


@dataclass(frozen=True)
class Sysctl:
    """A file below /proc/sys, such as ``net/core/rps_sock_flow_entries`` (dots do as well)."""

    key: str
    needs_sysfs: ClassVar[bool] = False

    @property
    def device(self) -> str | None:
        """None: what belongs to a device is found missing by its file."""
        return None

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path("/proc/sys", self.key if "/" in self.key else self.key.replace(".", "/"))

    def canonical(self, value: Value) -> Value:
        """Words separated by single blanks."""
        return _words(value)

    def read(self) -> Value:
        """The file's words."""
        return _words(_read(self.path))

    def write(self, value: Value) -> None:
        """Write the words."""
        _write(self.path, str(value))


@dataclass(frozen=True)
class Sysfs:
    """A file below /sys, such as ``class/net/nic0/queues/rx-0/rps_cpus``; masks are hex text."""

    path: str
    needs_sysfs: ClassVar[bool] = True

    @property
    def device(self) -> str | None:
        """The device of ``class/net/DEVICE/…``."""
        parts = Path(self.path).parts
        return parts[2] if parts[:2] == ("class", "net") and len(parts) > 2 else None

    def canonical(self, value: Value) -> Value:
        """Words; a mask of cores without commas and leading zeros."""
        text = _words(value)
        if Path(self.path).name in _MASKS:
            return f"{int(text.replace(',', '') or '0', 16):x}"
        return text

    def read(self) -> Value:
        """The file's words."""
        return self.canonical(_read(Path("/sys", self.path)))

    def write(self, value: Value) -> None:
        """Write the words; a mask of more than 32 cores with the commas the kernel wants."""
        text = str(value)
        if Path(self.path).name in _MASKS:
            digits = text.replace(",", "")
            digits = digits.rjust(-(-len(digits) // 8) * 8, "0")
            text = ",".join(digits[at : at + 8] for at in range(0, len(digits), 8))
        _write(Path("/sys", self.path), text)


@dataclass(frozen=True)
class Feature:
    """An offload feature of a device by its kernel name (``rx-gro``), on or off."""

    device: str
    name: str
    needs_sysfs: ClassVar[bool] = False

    def canonical(self, value: Value) -> Value:
        """True or False."""
        return bool(value)

    def read(self) -> Value:
        """Whether it is on."""
        return ethtool.feature(self.device, self.name)

    def write(self, value: Value) -> None:
        """Turn it on or off."""
        ethtool.set_features(self.device, {self.name: bool(value)})


@dataclass(frozen=True)
class Channels:
    """The active receive and transmit queues of a device, as a pair."""

    device: str
    needs_sysfs: ClassVar[bool] = False

    def canonical(self, value: Value) -> Value:
        """``[rx, tx]``."""
        return _pair(value)

    def read(self) -> Value:
        """``[rx, tx]``."""
        return list(ethtool.channels(self.device))

    def write(self, value: Value) -> None:
        """Activate that many of each."""
        rx, tx = _pair(value)
        ethtool.set_channels(self.device, rx, tx)


@dataclass(frozen=True)
class LinkAttribute:
    """A number that netlink keeps for a device: ``mtu``, ``txqlen``, ``gro_max_size``, …"""

    device: str
    name: str
    needs_sysfs: ClassVar[bool] = False

    def canonical(self, value: Value) -> Value:
        """A number."""
        return int(str(value))

    def read(self) -> Value:
        """The number."""
        with IPRoute() as route:
            link = route.get_links(_index(route, self.device))[0]
            value = link.get_attr(f"IFLA_{self.name.upper()}")
        if value is None:
            raise BadInput(f"link '{self.device}' has no attribute '{self.name}'")
        return int(value)

    def write(self, value: Value) -> None:
        """Set the number."""
        with IPRoute() as route:
            try:
                route.link("set", index=_index(route, self.device), **{self.name: value})
            except NetlinkError as error:
                raise OversprayError(
                    f"set {self.name} of '{self.device}' to {value}: {error.args[-1]}"
                ) from None


@dataclass(frozen=True)
class GroSize:
    """The largest packets that GRO makes for a device, of IPv6 and of IPv4: bytes, as a pair."""

    device: str
    needs_sysfs: ClassVar[bool] = False

    def canonical(self, value: Value) -> Value:
        """``[IPv6, IPv4]``."""
        return _pair(value)

    def read(self) -> Value:
        """``[IPv6, IPv4]``. BadInput before Linux 6.3, which knows one for both."""
        return list(rtnetlink.read_numbers(self.device, GRO_SIZES))

    def write(self, value: Value) -> None:
        """Set both; the one of IPv4 last, for the other sets it too."""
        for attribute, size in zip(GRO_SIZES, _pair(value), strict=True):
            rtnetlink.write_number(self.device, attribute, size)


@dataclass(frozen=True)
class Device:
    """Whether a device is there. It is made by others; only its removal is known here."""

    name: str
    needs_sysfs: ClassVar[bool] = False

    @property
    def device(self) -> str | None:
        """None: its absence is a value, not a reason to skip."""
        return None

    def canonical(self, value: Value) -> Value:
        """True or False."""
        return bool(value)

    def read(self) -> Value:
        """Whether there is a device of that name."""
        with IPRoute() as route:
            return bool(route.link_lookup(ifname=self.name))

    def write(self, value: Value) -> None:
        """Remove it; True does nothing."""
        if value:
            return
        with IPRoute() as route:
            try:
                route.link("del", index=_index(route, self.name))
            except NetlinkError as error:
                raise OversprayError(f"remove '{self.name}': {error.args[-1]}") from None


_KINDS: dict[str, type[Any]] = {
    kind.__name__.lower(): kind
    for kind in (Sysctl, Sysfs, Feature, Channels, LinkAttribute, GroSize, Device)
}


def to_plain(setting: Setting) -> dict[str, str]:
    """A setting as text, for the journal."""
    fields: dict[str, str] = asdict(setting)  # type: ignore[call-overload]
    return {"kind": type(setting).__name__.lower(), **fields}


def from_plain(fields: dict[str, str]) -> Setting:
    """The setting that :func:`to_plain` wrote down."""
    rest = {key: value for key, value in fields.items() if key != "kind"}
    setting: Setting = _KINDS[fields["kind"]](**rest)
    return setting


def _index(route: IPRoute, device: str) -> int:
    found = route.link_lookup(ifname=device)
    if not found:
        raise BadInput(f"no device '{device}' in this namespace")
    return int(found[0])


def _pair(value: Value) -> list[int]:
    if not isinstance(value, list) or len(value) != 2:
        raise BadInput(f"expected a pair such as [1, 1], not {value!r}")
    return value


def _words(value: Value) -> str:
    if isinstance(value, bool):
        value = int(value)
    return " ".join(str(value).split())


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise BadInput(f"this kernel or namespace has no {path}") from None
    except OSError as error:
        raise OversprayError(f"read {path}: {error.strerror}") from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except FileNotFoundError:
        raise BadInput(f"this kernel or namespace has no {path}") from None
    except OSError as error:
        raise OversprayError(f"write '{text}' to {path}: {error.strerror}") from None
