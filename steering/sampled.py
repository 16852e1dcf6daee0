"""What `overspray top` reads again and again: raw counts of an attached datapath, core by core."""

import os
import struct
import time
from typing import Any

import numpy as np

from steering import bpf
from steering.compile import Module, counter_names
from steering.datapath import Datapath
from steering.netns import entered
from steering.routes import Delivery


class Orderer:
    """The order of what is delivered, watched from construction until :meth:`detach`."""

    def __init__(self, module: Module, datapath: Datapath) -> None:
        """``module`` is order.bpf.c, compiled."""
        self._module = module
        module.put("order_settings", 0, struct.pack("=Q", datapath.secret))
        program = module.load("order", bpf.PROG_TYPE_SCHED_CLS)
        self.program = bpf.prog_info(program)[0]
        """Its id."""
        ns, index = datapath.nic
        with entered(ns):
            self._link = bpf.link_create(program, index, bpf.ATTACH_TCX_INGRESS, bpf.BEFORE_ALL)

    def counts(self) -> list[dict[str, int]]:
        """The counters of each core."""
        return per_core(self._module, "order")

    def totals(self) -> dict[str, int]:
        """The same of all cores together."""
        cores = self.counts()
        return {name: sum(core[name] for core in cores) for name in cores[0]}

    def detach(self) -> None:
        """Watch no more; what was counted can still be read."""
        os.close(self._link)

    def close(self) -> None:
        """Detach, and let go of the module."""
        self.detach()
        self._module.close()


def per_core(module: Module, stage: str) -> list[dict[str, int]]:
    """One program's counters, a dictionary a core."""
    names = counter_names(f"{stage}_counter")
    table = module.counts(f"{stage}_counters", f"{stage}_counter")
    return [{name: int(n) for name, n in zip(names, row, strict=True)} for row in table]


def policy_counts(datapath: Datapath) -> list[dict[str, int]]:
    """The policy's own counters, a dictionary a core: the begin of its struct policy_core."""
    unit = datapath.unit
    names = list(unit.plan.policy.counters)
    table = unit.module.fd("cores")
    size = -(-bpf.map_info(table).value_size // 8)
    dtype = np.dtype([("word", "<u8", (size,))])
    rows = bpf.map_lookup(table, struct.pack("=I", 0), dtype, per_core=True)["word"]
    return [{name: int(n) for name, n in zip(names, row, strict=False)} for row in rows]


def sample(datapath: Datapath, orderer: Orderer | None) -> dict[str, Any]:
    """Everything that counts, as it stands now. Counts begin anew when ``unit`` changes."""
    unit = datapath.unit
    workers = unit.workers()
    steer = per_core(unit.module, "steer")
    peer = per_core(datapath.peer, "peer")
    order = orderer.counts() if orderer else [{} for _ in steer]
    rows = {
        int(row["core"]): {
            "slot": slot,
            **{name: int(row[name]) for name in ("sent", "lost", "done", "batches", "yielded")},
        }
        for slot, row in enumerate(workers, 1)
    }
    policy = policy_counts(datapath)
    return {
        "time": time.monotonic(),
        "unit": f"{id(unit):x}",
        "policy": str(unit.plan.policy.name),
        "merged": unit.plan.delivery is Delivery.PEER,
        "meanings": dict(unit.plan.policy.counters),
        "cores": [
            {
                "core": core,
                "steer": steer[core],
                "peer": peer[core],
                "order": order[core],
                "policy": policy[core],
                "worker": rows.get(core),
            }
            for core in range(len(steer))
            if core in rows or steer[core]["seen"]
        ],
    }
