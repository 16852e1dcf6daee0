"""A device's features and channels, by the ethtool ioctl, in the calling thread's namespace."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyroute2.ethtool.ioctl import (
    EthtoolError,
    EthtoolFeaturesList,
    EthtoolValue,
    IoctlEthtool,
    NoSuchDevice,
    NotSupportedError,
)

from steering.errors import BadInput, OversprayError, unknown

_GLINK = 0x0A


def feature(device: str, name: str) -> bool:
    """Whether a feature (``ethtool -k``'s kernel name, such as ``rx-gro``) is on."""
    return features(device, [name])[name]


def features(device: str, names: list[str]) -> dict[str, bool]:
    """Which of the named features are on.

    Raises:
        BadInput: no such device or feature.
    """
    with _opened(device) as ethtool:
        found = ethtool.get_features()
        for name in names:
            if name not in found:
                raise unknown(f"feature of {device}", name, _names(found))
        return {name: bool(found[name]) for name in names}


def set_features(device: str, wanted: dict[str, bool]) -> None:
    """Turn features on or off. What depends on them follows; the kernel may keep some as is.

    Raises:
        BadInput: no such device or feature.
        OversprayError: refused.
    """
    with _opened(device) as ethtool:
        found = ethtool.get_features()
        for name, on in wanted.items():
            if name not in found:
                raise unknown(f"feature of {device}", name, _names(found))
            found[name] = on
        ethtool.set_features(found)


def channels(device: str) -> tuple[int, int]:
    """How many receive and transmit queues are active."""
    with _opened(device) as ethtool:
        found = ethtool.get_channels()
        return int(found.rx_count), int(found.tx_count)


def set_channels(device: str, rx: int, tx: int) -> None:
    """Activate that many queues, within what the device was made with.

    Raises:
        OversprayError: more than it has, or the device cannot.
    """
    with _opened(device) as ethtool:
        wanted = ethtool.get_channels()
        wanted.rx_count, wanted.tx_count = rx, tx
        ethtool.set_channels(wanted)


def _names(found: EthtoolFeaturesList) -> list[str]:
    """The features that can be changed; some names are empty."""
    return [name for name, _, available, _, _ in found if name and available]


def carrier(device: str) -> bool:
    """Whether the link is up. Asking makes the kernel act on a change that it has put off.

    It collects such changes for up to a second; until then IPv6 addresses are not usable.
    """
    with _opened(device) as ethtool:
        answer = EthtoolValue(cmd=_GLINK)
        ethtool.ifreq.value = ctypes.pointer(answer)
        ethtool.ioctl()
        return bool(answer.data)


@contextmanager
def _opened(device: str) -> Iterator[IoctlEthtool]:
    ethtool = IoctlEthtool(device)
    try:
        yield ethtool
    except NoSuchDevice:
        raise BadInput(f"no device '{device}' in this namespace") from None
    except NotSupportedError:
        raise OversprayError(f"ethtool on '{device}': the device does not support it") from None
    except (EthtoolError, OSError) as error:
        number = getattr(error, "errno", None)
        if number == errno.ENODEV:
            raise BadInput(f"no device '{device}' in this namespace") from None
        reason = os.strerror(number) if number else error
        raise OversprayError(f"ethtool on '{device}': {reason}") from None
    finally:
        ethtool.close()
