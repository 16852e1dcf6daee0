"""One class for each kind of setting that a running system has: how it is read, how written.

Each acts in the network namespace that the calling thread is in (`steering.netns`). Values are text, in the
one form in which they are read: so what is in effect can be compared with what is wanted.
"""

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from pyroute2.ethtool.ioctl import EthtoolError, EthtoolFeaturesList, IoctlEthtool, NoSuchDevice

from steering import cores, napi, sysfs
from steering.errors import BadInput, OversprayError


class Missing(BadInput):
    """There is no such device or setting in this namespace, or no longer."""


@dataclass(frozen=True)
class Setting(ABC):
    """Something that has a value and can be given another."""

    def read(self) -> str:
        """The value in effect. Raises Missing, or OversprayError where it can't be read."""
        with _told(f"read {self}"):
            return self._read()

    def write(self, value: str) -> None:
        """Set it. Raises Missing, or OversprayError where the kernel refuses, aloud or silently."""
        with _told(f"set {self} to {value}"):
            self._write(value)
            found = self._read()
        if found != value:
            raise OversprayError(f"set {self} to {value}: the kernel took it, but it is {found}")

    def as_dict(self) -> dict[str, str]:
        """For JSON; read with :func:`from_dict`."""
        return {"kind": type(self).__name__, **asdict(self)}

    @abstractmethod
    def _read(self) -> str: ...

    @abstractmethod
    def _write(self, value: str) -> None: ...


@dataclass(frozen=True)
class Sysctl(Setting):
    """``/proc/sys/KEY``, such as ``net/core/somaxconn``; its words, with single blanks between."""

    key: str

    def __str__(self) -> str:
        return self.key

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path("/proc/sys", self.key)

    def _read(self) -> str:
        return " ".join(self.path.read_text().split())

    def _write(self, value: str) -> None:
        self.path.write_text(value)


@dataclass(frozen=True)
class _OfQueues(Setting):
    """One value for all active receive queues of a device; where they differ, one for each, with blanks."""

    device: str
    file: ClassVar[str]

    def __str__(self) -> str:
        return f"{self.file} of {self.device}"

    def _read(self) -> str:
        with sysfs.opened() as root:
            return _joined([self._form(sysfs.read(root, path)) for path in self._paths(root)])

    def _write(self, value: str) -> None:
        with sysfs.opened() as root:
            paths = self._paths(root)
            for path, one in zip(paths, _each(self, value, len(paths)), strict=True):
                sysfs.write(root, path, self._text(one))

    def _form(self, text: str) -> str:
        """The kernel's text, in the form in which values are compared."""
        return text

    def _text(self, value: str) -> str:
        """A value, as the kernel wants it."""
        return value

    def _paths(self, root: int) -> list[str]:
        folder = f"class/net/{self.device}/queues"
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        try:
            with os.scandir(handle) as queues:
                numbers = sorted(int(each.name[3:]) for each in queues if each.name.startswith("rx-"))
        finally:
            os.close(handle)
        return [f"{folder}/rx-{number}/{self.file}" for number in numbers]


@dataclass(frozen=True)
class RpsMask(_OfQueues):
    """The cores to which RPS hands what a device receives: hexadecimal, without commas and leading zeros."""

    file = "rps_cpus"

    def _form(self, text: str) -> str:
        return f"{int(text.replace(',', ''), 16):x}"

    def _text(self, value: str) -> str:
        return _with_commas(value)


@dataclass(frozen=True)
class RpsFlows(_OfQueues):
    """How many flows receive flow steering (RFS) knows of each queue, a power of two; 0: it is off."""

    file = "rps_flow_cnt"


@dataclass(frozen=True)
class Attribute(Setting):
    """``/sys/class/net/DEVICE/NAME``, such as ``gro_flush_timeout``."""

    device: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} of {self.device}"

    def _read(self) -> str:
        with sysfs.opened() as root:
            return sysfs.read(root, f"class/net/{self.device}/{self.name}")

    def _write(self, value: str) -> None:
        with sysfs.opened() as root:
            sysfs.write(root, f"class/net/{self.device}/{self.name}", value)


@dataclass(frozen=True)
class Threaded(Attribute):
    """Whether threads of the kernel poll a device (threaded NAPI): ``1`` or ``0``."""

    name: str = "threaded"

    def _write(self, value: str) -> None:
        try:
            super()._write(value)
        except OSError as error:
            # A veth is polled only while it has GRO or an XDP program: a killed run's is gone with it.
            if error.errno != errno.EOPNOTSUPP:
                raise
            with napi.there(self.device):
                super()._write(value)


@dataclass(frozen=True)
class NapiCores(Setting):
    """The cores on which the threads that poll a device may run: a mask as `RpsMask` has it.

    One for all of them; where they differ, one for each, with blanks between. Missing while it has none.
    """

    device: str

    def __str__(self) -> str:
        return f"napi_cores of {self.device}"

    def _read(self) -> str:
        masks = [sum(1 << core for core in os.sched_getaffinity(thread)) for thread in self._threads()]
        return _joined([f"{mask:x}" for mask in masks])

    def _write(self, value: str) -> None:
        threads = self._threads()
        for thread, mask in zip(threads, _each(self, value, len(threads)), strict=True):
            os.sched_setaffinity(thread, cores.from_mask(mask))

    def _threads(self) -> list[int]:
        if found := napi.threads(self.device):
            return found
        raise Missing(f"{self.device} is not polled by threads, or the kernel names none (Linux 6.8 does)")


@dataclass(frozen=True)
class Feature(Setting):
    """An offload of a device by its name in the kernel, such as ``rx-gro``: ``on`` or ``off``."""

    device: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} of {self.device}"

    def _read(self) -> str:
        with closing(IoctlEthtool(self.device)) as ethtool:
            return "on" if self._known(ethtool.get_features())[self.name] else "off"

    def _write(self, value: str) -> None:
        with closing(IoctlEthtool(self.device)) as ethtool:
            features = self._known(ethtool.get_features())
            features[self.name] = value == "on"  # marks this one alone as to be changed
            ethtool.set_features(features)

    def _known(self, features: EthtoolFeaturesList) -> EthtoolFeaturesList:
        if self.name not in features:
            raise Missing(f"no feature '{self.name}' in this kernel: type 'ethtool -k {self.device}'")
        return features


_KINDS = (Sysctl, RpsMask, RpsFlows, Attribute, Threaded, NapiCores, Feature)
KINDS: dict[str, type[Setting]] = {kind.__name__: kind for kind in _KINDS}
"""What :func:`from_dict` can read."""


def from_dict(fields: dict[str, str]) -> Setting:
    """What :meth:`Setting.as_dict` wrote. Raises KeyError or TypeError where it is no such thing."""
    rest = {key: value for key, value in fields.items() if key != "kind"}
    return KINDS[fields["kind"]](**rest)


def _joined(values: list[str]) -> str:
    """All of them, or the one that all have."""
    return " ".join(values if len(set(values)) > 1 else values[:1])


def _each(setting: Setting, value: str, count: int) -> list[str]:
    """What :func:`_joined` joined, for each of so many."""
    values = value.split()
    if len(values) not in (1, count):
        raise OversprayError(f"set {setting}: {len(values)} values for {count} of them")
    return values * (count // len(values))


def _with_commas(mask: str) -> str:
    """As the kernel wants masks of more than 32 cores."""
    digits = mask.zfill(-(-len(mask) // 8) * 8)
    return ",".join(digits[at : at + 8] for at in range(0, len(digits), 8))


@contextmanager
def _told(act: str) -> Iterator[None]:
    """Errors of the kernel, as errors for people."""
    try:
        yield
    except (OSError, EthtoolError) as error:
        number = getattr(error, "errno", None)
        if isinstance(error, NoSuchDevice) or number in (errno.ENOENT, errno.ENODEV):
            raise Missing(f"{act}: there is no such thing in this namespace") from None
        reason = os.strerror(number) if number else "the device does not do that"
        raise OversprayError(f"{act}: {reason}") from None
