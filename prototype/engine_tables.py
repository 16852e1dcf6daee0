"""What the datapath of the engine may take off, and for whom: the maps that user space fills."""

import ctypes
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steering.errors import BadInput
from steering.layout import header
from steering.routes import Route, address_words, tunnel_row

NAMED: np.dtype[np.void] = header("frame.h", "maps.h").struct("named")
_TUNNEL_KEY = header("maps.h").struct("tunnel_key")
_ENDPOINT_KEY = header("maps.h").struct("endpoint_key")
_MOST = header("maps.h").constants


@dataclass(frozen=True)
class Tables:
    """``mac``: the NIC's; ``tunnels``: keys (struct tunnel_key); ``endpoints``: a route for each
    key (struct endpoint_key)."""

    mac: bytes
    tunnels: tuple[bytes, ...]
    endpoints: Mapping[bytes, Route]

    def __post_init__(self) -> None:
        for kind, count in (("TUNNELS", self.tunnels), ("ENDPOINTS", self.endpoints)):
            if len(count) > _MOST[f"MAX_{kind}"]:
                most = _MOST[f"MAX_{kind}"]
                raise BadInput(f"{len(count)} {kind.lower()}: the datapath knows {most} at most")

    def tunnel_texts(self) -> list[str]:
        """``vni 42, 192.0.2.2 to 192.0.2.1 port 4789``, each once."""
        keys = (np.frombuffer(key, _TUNNEL_KEY)[0] for key in self.tunnels)
        return sorted(
            {
                f"vni {key['vni']}, {_address(key['remote'])} to {_address(key['local'])} "
                f"port {key['port']}"
                for key in keys
            }
        )

    def fill(self, map_of: Any) -> None:
        """Write them into the maps of a shared object; ``map_of(name, dtype)`` gives its arrays."""
        settings = map_of("settings_rows", header("maps.h").struct("settings"))
        settings["mac"] = np.frombuffer(self.mac, np.uint8)
        tunnels = [(key, tunnel_row(key, True)) for key in self.tunnels]
        endpoints = [(key, route.row(key, True)) for key, route in self.endpoints.items()]
        for name, pairs in (("tunnel", tunnels), ("endpoint", endpoints)):
            rows = b"".join(row for _, row in pairs)
            keys = b"".join(key + np.uint32(i).tobytes() for i, (key, _) in enumerate(pairs))
            map_of(f"{name}s_rows", np.dtype("u1"), len(rows))[:] = np.frombuffer(rows, "u1")
            map_of(f"{name}_rows_rows", np.dtype("u1"), len(keys))[:] = np.frombuffer(keys, "u1")
            map_of(f"{name}_rows_used", np.dtype("u4"))[...] = len(pairs)


@dataclass(frozen=True)
class Wanted:
    """Which of the tunnels that frames name are meant; None: any."""

    vni: int | None = None
    port: int | None = None
    local: str | None = None
    remote: str | None = None
    mac: str | None = None

    def __post_init__(self) -> None:
        for address in filter(None, (self.local, self.remote)):
            try:
                address_words(address)
            except ValueError:
                raise BadInput(f"'{address}' is no IP address") from None
        try:
            if self.mac and len(bytes.fromhex(self.mac.replace(":", ""))) != 6:
                raise ValueError
        except ValueError:
            raise BadInput(f"'{self.mac}' is no MAC: write it as 02:00:00:00:00:01") from None

    def tables(self, named: NDArray[np.void]) -> Tables:
        """Of all that frames name (:data:`NAMED`, 1-d), what is wanted, at the NIC that has most.

        Raises:
            BadInput: nothing is left.
        """
        found = named[named["whole"] != 0]
        if not len(found):
            raise BadInput("no frame is whole VXLAN around UDP or TCP: nothing to take off")
        chosen = found[self._among(found)]
        if not len(chosen):
            vnis = ", ".join(map(str, np.unique(found["tunnel"]["vni"])[:20]))
            raise BadInput(
                f"no frame is of a tunnel with {self}: there are VNIs {vnis}; "
                "leave the options out to take whatever is there"
            )
        macs = Counter(row.tobytes() for row in chosen["mac"])
        [(mac, _)] = macs.most_common(1)
        chosen = chosen[(chosen["mac"] == np.frombuffer(mac, np.uint8)).all(axis=1)]
        return Tables(
            mac,
            tuple(dict.fromkeys(key.tobytes() for key in _each(chosen["tunnel"], _TUNNEL_KEY))),
            {
                key.tobytes(): Route("peer", device=1, number=number)
                for number, key in enumerate(_each(chosen["endpoint"], _ENDPOINT_KEY))
            },
        )

    def _among(self, found: NDArray[np.void]) -> NDArray[np.bool_]:
        keys, chosen = found["tunnel"], np.ones(len(found), np.bool_)
        for name in ("vni", "port"):
            if getattr(self, name) is not None:
                chosen &= keys[name] == getattr(self, name)
        for name in ("local", "remote"):
            if getattr(self, name) is not None:
                chosen &= (keys[name] == address_words(getattr(self, name))).all(axis=1)
        if self.mac is not None:
            mac = np.frombuffer(bytes.fromhex(self.mac.replace(":", "")), np.uint8)
            chosen &= (found["mac"] == mac).all(axis=1)
        return chosen

    def __str__(self) -> str:
        named = ((name, value) for name, value in vars(self).items() if value is not None)
        return ", ".join(f"{name} {value}" for name, value in named)


def _each(keys: NDArray[np.void], dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """Distinct keys."""
    raw = np.ascontiguousarray(keys).view(f"V{dtype.itemsize}")
    _, first = np.unique(raw.view((np.uint8, dtype.itemsize)), axis=0, return_index=True)
    return keys[np.sort(first)]


def _address(words: NDArray[np.uint32]) -> str:
    address = IPv6Address(words.astype("=u4").tobytes())
    return str(address.ipv4_mapped or address)


def array_at(address: int, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """The memory at an address, shape (count,)."""
    raw = (ctypes.c_uint8 * (dtype.itemsize * count)).from_address(address)
    return np.ctypeslib.as_array(raw).view(dtype)
