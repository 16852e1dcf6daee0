"""What `overspray top` makes of two samples, and how it is shown."""

from typing import Any

import pytest
from rich.console import Console

from steering.cli_top import picture
from steering.top import Rates, rates


def core(number: int, **parts: Any) -> dict[str, Any]:
    steer = {"seen": 0, "local": 0, "remote": 0, "pass_tunnel": 0, "drop_strip": 0}
    whole: dict[str, Any] = {
        "core": number,
        "steer": steer,
        "peer": {"delivered": 0, "segments": 0, "stock": 0},
        "order": {},
        "policy": {"cells": 0},
        "worker": None,
    }
    for name, counts in parts.items():
        whole[name] = {**(whole[name] or {}), **counts}
    return whole


WORKER = {"slot": 1, "sent": 0, "lost": 0, "done": 0, "batches": 0, "yielded": 0}


def sample(time: float, *cores: dict[str, Any], unit: str = "a") -> dict[str, Any]:
    return {
        "time": time,
        "unit": unit,
        "policy": "mine",
        "merged": True,
        "meanings": {"cells": "cells of mine"},
        "cores": list(cores),
    }


BEFORE = sample(10, core(0, steer={"seen": 5}), core(1, worker=WORKER))
AFTER = sample(
    12,
    core(
        0,
        steer={"seen": 1005, "local": 400, "remote": 600, "pass_tunnel": 10},
        peer={"delivered": 100, "segments": 400},
        order={"seen": 200, "moved": 50, "back": 1},
        policy={"cells": 20},
    ),
    core(
        1,
        peer={"delivered": 0},
        worker={**WORKER, "sent": 600, "lost": 20, "done": 480, "batches": 60},
    ),
)


def found(before: dict[str, Any] = BEFORE, after: dict[str, Any] = AFTER) -> Rates:
    result = rates(before, after)
    assert result is not None
    return result


def test_rates_of_each_core() -> None:
    nic, worker = found().cores
    assert (nic.core, nic.role, nic.arrived, nic.packets) == (0, "nic", 500, 200)
    assert (worker.core, worker.role, worker.arrived, worker.packets) == (1, "worker 1", 0, 240)
    assert (nic.share, worker.share) == pytest.approx((400 / 880, 480 / 880))
    assert (nic.queue, worker.queue) == (None, 100)
    assert (nic.lost, worker.lost) == (0, 10)
    assert (nic.bulk, worker.bulk) == (None, 8)
    assert (nic.merge, worker.merge) == (4, None)
    assert (nic.moved, nic.back, worker.moved) == (250, 5, None)


def test_what_has_names() -> None:
    assert found().counters == {"cells": 10}
    assert found().reasons == {"pass_tunnel": 5, "worker_queue_full": 10}
    assert found().seconds == 2


def test_a_swap_or_no_time_gives_nothing() -> None:
    assert rates(BEFORE, {**AFTER, "unit": "b"}) is None
    assert rates(BEFORE, {**AFTER, "time": 10}) is None


def test_without_gro_there_is_no_merge() -> None:
    assert found(after={**AFTER, "merged": False}).cores[0].merge is None


def test_a_core_that_just_came() -> None:
    assert found(before=sample(10)).cores[0].arrived == 502.5


def test_the_picture_has_it_all() -> None:
    console = Console(width=100, record=True, force_terminal=False)
    with console.capture() as shown:
        console.print(picture("'nic0'", found()))
    text = shown.get()
    for words in (
        "nic0",
        "mine",
        "worker 1",
        "240",
        "55%",
        "250.0",
        "mine: cells",
        "cells of mine",
    ):
        assert words in text
    assert "worker_queue_full" in text
    assert "\x1b" not in text
