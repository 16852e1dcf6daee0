"""All faults, in the order in which they are done."""

import signal

from fault import Fault
from inside import DiskFull, Killed, MapsFull, MemoryShort, Signalled, TwoControllers
from outside import (
    BridgeRecreated,
    ContainerMoved,
    CoreOffline,
    EntriesAged,
    MtuChanged,
    NamespaceDeleted,
    SecondProgram,
    SenderMoved,
    TunnelRecreated,
    VethFlapped,
)


def faults() -> list[Fault]:
    return [
        Signalled(signal.SIGTERM),
        Signalled(signal.SIGINT),
        Killed(),
        NamespaceDeleted(),
        VethFlapped(),
        MtuChanged(),
        TunnelRecreated(),
        BridgeRecreated(),
        ContainerMoved(),
        SenderMoved(),
        EntriesAged(),
        SecondProgram(),
        MapsFull(),
        MemoryShort(),
        DiskFull(),
        TwoControllers(),
        CoreOffline(),  # the last: no worker's thread is bound to that core again
    ]
