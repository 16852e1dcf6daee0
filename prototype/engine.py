"""The packet engine: the kernel's datapath on real frames, in user space, over real threads.

One thread stands for the NIC's core, one for each worker, one restores the order. What is done to a
frame is the text that the kernel runs (xdp/host/engine.c), with one policy; who does it, and when,
is in :mod:`prototype.engine_loops`. A full ring makes the NIC thread wait, so nothing is lost.
"""

import ctypes
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prototype import engine_loops as loops
from prototype.engine_tables import NAMED, Tables, array_at
from prototype.frames import Frames
from prototype.order import Order, measure
from steering.closing import Closing
from steering.compile import counter_names
from steering.errors import BadInput
from steering.faults import Fault
from steering.hosted import PolicyFault, shared_object
from steering.layout import header
from steering.policy import Policy
from xdp import SOURCES

MOST_WORKERS = header("policy.h").constants["MAX_WORKERS"]
_RANGES = {"workers": (1, MOST_WORKERS), "room": (loops.BULK, 1 << 20)}
_SOURCE = SOURCES / "host" / "engine.c"
_LINE_WORDS = 16
_PLACE = np.dtype([("what", "u8"), ("file", "u8"), ("line", "u8")])  # struct fault, fault.h
_HELD = 1 << 16

Note = Callable[[int], object]


@dataclass(frozen=True)
class Stage:
    """What one kind of work took: ``packets`` of it, on so many threads, ``busy`` ns in all."""

    name: str
    threads: int
    packets: int
    busy: int

    @property
    def each(self) -> float:
        """ns a packet; 0 of none."""
        return self.busy / self.packets if self.packets else 0.0

    def share(self, seconds: float) -> float:
        """Of its threads' time: 0 to 1."""
        return self.busy / (self.threads * seconds * 1e9)


@dataclass(frozen=True)
class Passage:
    """What became of frames.

    ``frames``: as they came in, row by row, each with its fate; what was stripped is the inner
    frame now. ``arrived``: numbers of the delivered ones in the order in which they came through;
    ``out``: in the order in which they are handed on. ``counters``: by the names of
    ``enum steer_counter``. ``waited``: ns that the NIC thread found no room in a ring.
    ``held``: how often k frames were held to restore the order.
    """

    frames: Frames
    arrived: NDArray[np.int64]
    out: NDArray[np.int64]
    counters: dict[str, int]
    stages: tuple[Stage, ...]
    waited: int
    seconds: float
    restored: bool
    held: NDArray[np.int64]

    @property
    def delivered(self) -> Frames:
        """The inner frames, in the order in which they are handed on."""
        return self.frames.pick(self.out)

    @property
    def damaged(self) -> int:
        """Delivered frames that a container's stack will drop: wrong inner checksum or length."""
        return int(self.frames.rows["damaged"][self.arrived].sum())

    @property
    def per_slot(self) -> list[int]:
        """Frames that each slot delivered, from slot 0."""
        return [int(count) for count in np.bincount(self.frames.rows["fate"][self.arrived])]

    def order(self) -> Order:
        """Order of each flow's frames as they came through, all flows together."""
        total = measure([])
        flows = self.frames.rows["flow"][self.arrived]
        by_flow = np.argsort(flows, kind="stable")
        starts = np.flatnonzero(np.diff(flows[by_flow])) + 1
        for members in np.split(by_flow, starts):
            numbers = self.arrived[members]
            # Numbers of this flow's own: 0, 1, 2 … in the order of the wire.
            total = total + measure(np.argsort(np.argsort(numbers)))
        return total


class Engine(Closing):
    """One policy's datapath with its maps and workers. A context manager.

    Like the kernel's it keeps what it knows of flows from one run to the next.
    """

    def __init__(
        self, policy: Policy, knobs: Mapping[str, int], workers: int = 4, room: int = 2048
    ) -> None:
        """Compile, unless the cache has it. ``room``: of a worker's ring, frames.

        Raises:
            BadInput: an impossible number of workers or places.
            CompileError: the policy does not compile.
        """
        for name, value in (("workers", workers), ("room", room)):
            low, high = _RANGES[name]
            if not low <= value <= high:
                raise BadInput(f"{name} {value} is out of range: {low} to {high}")
        self.policy = policy
        self.workers, self.room = workers, room
        self._library = _own_copy(shared_object(policy, _SOURCE, f"-DCORES={MOST_WORKERS + 1}"))
        numbers = [knobs[name] for name in policy.knobs] or [0]
        self._map("knobs_rows", np.dtype("u4"), len(numbers))[:] = numbers
        table = self._map("workers_rows", header("policy.h").struct("workers"))
        table["count"] = workers
        table["worker"]["core"] = np.arange(1, MOST_WORKERS + 1)
        self._steer = self._function("steer_frame", 2, ctypes.c_uint32)
        self._deliver = self._function("deliver_frame", 2, None, ctypes.c_uint32)
        self._clock = self._function("clock_ns", 0, ctypes.c_int64)

    def named(self, frames: Frames) -> NDArray[np.void]:
        """The NIC, tunnel and container that each frame names (:data:`NAMED`, one a frame)."""
        rows, found = np.ascontiguousarray(frames.rows), np.zeros(len(frames), NAMED)
        name = self._library.name_frames
        name.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p]
        name(frames.data.ctypes.data, rows.ctypes.data, len(rows), found.ctypes.data)
        return found

    def fill(self, tables: Tables) -> None:
        """Say what may be taken off, and for whom."""
        tables.fill(self._map)

    def run(self, frames: Frames, restored: bool = True, note: Note = lambda _: None) -> Passage:
        """Take frames in as fast as it goes. ``note`` is told now and then how many are through.

        Raises:
            PolicyFault: the policy did what its contract forbids.
        """
        before = self._counts()
        crew = _Crew(self, Frames(frames.rows.copy(), frames.data.copy()))
        seconds = crew.work(restored, note)
        if int(crew.shared[loops.STOP]):
            raise self._fault()
        grown = self._counts() - before
        counters = dict(zip(counter_names("steer_counter"), grown.tolist(), strict=True))
        return crew.passage(restored, counters, seconds)

    def core_state(self, dtype: np.dtype[np.void]) -> np.void:
        """What the policy remembers on the NIC's core: struct policy_core, as its header has it."""
        state: np.void = self._map("cores_rows", dtype)[0]
        return state

    def policy_counters(self) -> dict[str, int]:
        """What the policy itself has counted, by its names."""
        names = list(self.policy.counters)
        dtype = np.dtype([(name, "u8") for name in names])
        return {name: int(self.core_state(dtype)[name]) for name in names}

    def close(self) -> None:
        """Let go of the programs and maps."""
        if self._library is not None:
            import _ctypes

            _ctypes.dlclose(self._library._handle)
            self._library = None

    def _function(self, name: str, pointers: int, result: Any, *more: Any) -> Any:
        function = self._library[name]  # a function of its own each time
        function.argtypes = [*[ctypes.c_void_p] * pointers, *more]
        function.restype = result
        return function

    def _map(self, name: str, dtype: np.dtype[Any], count: int = 1) -> NDArray[Any]:
        """A variable of the shared object, as long as that is loaded."""
        return array_at(ctypes.addressof(ctypes.c_char.in_dll(self._library, name)), dtype, count)

    def _counts(self) -> NDArray[np.uint64]:
        width = len(counter_names("steer_counter"))
        return self._map("steer_counters_rows", np.dtype("u8"), width).copy()

    def _fault(self) -> PolicyFault:
        place = self._map("found_fault", _PLACE)[0]
        what, file = (
            ctypes.string_at(int(place[name])).decode(errors="replace") for name in ("what", "file")
        )
        frame = int(self._map("steer_counters_rows", np.dtype("u8"))[0]) - 1
        return PolicyFault(Fault(file, int(place["line"]), what), frame)


class _Crew:
    """The threads of one run and what they share."""

    def __init__(self, engine: Engine, frames: Frames) -> None:
        workers, count = engine.workers, len(frames)
        self.engine, self.frames = engine, frames
        self.shared = np.zeros(loops.cells(workers), np.uint64)
        self.log = np.zeros(count, np.int64)
        self.out = np.zeros(count, np.int64)
        self.held = np.zeros(_HELD, np.int64)
        self.released = 0
        self._rings = np.zeros((workers, engine.room), np.uint32)
        self._nic_times = np.zeros(3, np.int64)
        self._worker_times = np.zeros(workers * loops.LINE, np.int64)
        self._restore_times = np.zeros(1, np.int64)

    def work(self, restored: bool, note: Note) -> float:
        """Start the threads and wait for them; returns the seconds that they took."""
        clock = self.engine._clock
        jobs = self._jobs(restored)
        _Crew(self.engine, self.frames.pick([])).rehearse()
        with ThreadPoolExecutor(len(jobs)) as pool:
            begin = clock()
            # The NIC last: everybody is there when the first frame comes.
            threads: list[Future[Any]] = [pool.submit(*job) for job in reversed(jobs)]
            try:
                running = set(threads)
                while running:
                    _, running = wait(running, timeout=0.1)
                    note(min(int(self.shared[loops.LOGGED]), len(self.log)))
            finally:
                self.shared[loops.STOP] |= np.uint64(bool(running))
        if restored:
            self.released = threads[-2].result()
        for thread in threads:
            thread.result()
        return float(clock() - begin) / 1e9

    def rehearse(self) -> None:
        """With no frames at all, each job ends at once: what is compiled is loaded then."""
        for function, *arguments in self._jobs(True)[:3]:
            function(*arguments)

    def passage(self, restored: bool, counters: dict[str, int], seconds: float) -> Passage:
        """What became of the frames."""
        arrived = self.log[self.log > 0] - 1
        fates = self.frames.rows["fate"][arrived]
        local = int((fates == 0).sum())
        busy = self._worker_times.sum()
        stages = [
            Stage("steer", 1, len(self.log), int(self._nic_times[loops.STEER])),
            Stage("deliver, local", 1, local, int(self._nic_times[loops.LOCAL])),
            Stage("deliver, workers", self.engine.workers, len(arrived) - local, int(busy)),
        ]
        if restored:
            stages.append(Stage("restore", 1, len(arrived), int(self._restore_times[0])))
        return Passage(
            self.frames,
            arrived,
            self.out[: self.released] if restored else arrived,
            counters,
            tuple(stages),
            int(self._nic_times[loops.WAIT]),
            seconds,
            restored,
            np.trim_zeros(self.held, "b"),
        )

    def _jobs(self, restored: bool) -> list[tuple[Any, ...]]:
        """The NIC's core, who restores the order, the workers."""
        engine, shared, log = self.engine, self.shared, self.log
        clock, deliver = engine._clock, engine._deliver
        place = (self.frames.data.ctypes.data, self.frames.rows.ctypes.data)
        local = engine._map("local_paths_rows", np.dtype("u8"), 8)
        pressure = engine._map("pressure_rows", np.dtype("u4"))
        common = (self._rings, shared, log)
        times = self._nic_times
        nic = (engine._steer, deliver, clock, *place, len(log), *common, local, pressure, times)
        # Behind the header of struct workers each worker has two cache lines.
        words = engine._map("workers_rows", np.dtype("u8"), _LINE_WORDS * (engine.workers + 1))
        counters = words.reshape(-1, _LINE_WORDS)
        work = [
            (loops.work, slot, deliver, clock, *place, *common, counters[slot], self._own(slot))
            for slot in range(1, engine.workers + 1)
        ]
        restore = (loops.restore, clock, shared, log, self.out, self.held, self._restore_times)
        return [(loops.receive, *nic), *([restore] if restored else []), *work]

    def _own(self, slot: int) -> NDArray[np.int64]:
        """A cache line for one worker's time."""
        return self._worker_times[(slot - 1) * loops.LINE : slot * loops.LINE]


def _own_copy(path: Path) -> Any:
    """The shared object loaded once more: its maps are this engine's alone."""
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        shutil.copyfile(path, file.name)
        return ctypes.CDLL(file.name)
