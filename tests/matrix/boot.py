"""One guest: another kernel under qemu's software emulation, on the host's own root (virtme-ng)."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from compiled import Service
from kernels import ROOT, Kernel

HERE = Path(__file__).parent
_GUEST = "/run/matrix"
_FASTER = ("mitigations=off", "init_on_alloc=0", "tsc=reliable", "clocksource=tsc")
"""Kernel options that spare an emulated CPU work, and change nothing of what is tested."""
_ROOT_AGAIN = (
    *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
    *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
)
_MEMORY = "6G"


class Unfinished(Exception):
    """The guest did not end in its time, or ended before its checks did."""


class NotBegun(Unfinished):
    """It ended before its checks began."""


@contextmanager
def folder() -> Iterator[Path]:
    """What host and guest share."""
    with tempfile.TemporaryDirectory(prefix="overspray-matrix-") as made:
        yield Path(made)


def run(
    kernel: Kernel,
    cores: int,
    arguments: list[str],
    service: Service,
    seconds: float,
    told: Callable[[dict[str, Any]], None],
) -> int:
    """Boot, run the checks that pytest's ``arguments`` name, and tell of each as it ends.

    Returns pytest's exit code.

    Raises:
        Unfinished: see there; what had been told before stays true.
    """
    with folder() as shared:
        guest = subprocess.Popen(
            _command(kernel, cores, shared, arguments),
            stdin=subprocess.DEVNULL,
            stdout=(shared / "console").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + seconds
        try:
            _attend(guest, shared, service, deadline, told)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(guest.pid, signal.SIGKILL)  # virtme-run and qemu
            guest.wait()
        code = shared / "code"
        if not code.exists():
            late = time.monotonic() > deadline  # to boot again would take as long again
            kind = Unfinished if late or (shared / "log").exists() else NotBegun
            raise kind(f"no end: {_last_words(shared)}")
        return int(code.read_text())


def _command(kernel: Kernel, cores: int, shared: Path, arguments: list[str]) -> list[str]:
    python = ROOT / ".venv/bin/python"
    tests = [f"{HERE.parent}/{part}" for part in ("matrix", "bpf", "lab", "unit")]
    words = " ".join(f"'{word}'" for word in arguments)
    script = (
        f"cd {ROOT}\nexport HOME=/root PYTHONPATH={':'.join(tests)} LC_ALL=C.UTF-8\n"
        f"status=0; {python} {HERE}/guest.py {words} || status=$?\necho $status > {_GUEST}/code\n"
    )
    (shared / "script").write_text(script)
    inside = f"bash {HERE}/root.sh bash {_GUEST}/script > {_GUEST}/log 2>&1"
    options = [word for option in _FASTER for word in ("--kopt", option)]
    return [
        *(str(ROOT / ".venv/bin/virtme-run"), "--kimg", str(kernel.image), "--mods", "auto"),
        *("--cpus", str(cores), "--memory", _MEMORY, "--disable-kvm", "--force-9p"),
        *("--show-boot-console", *options, f"--rwdir={_GUEST}={shared}"),
        *("--script-sh", inside, "--qemu-opts", *_ROOT_AGAIN),
    ]


def _attend(
    guest: subprocess.Popen[bytes],
    shared: Path,
    service: Service,
    deadline: float,
    told: Callable[[dict[str, Any]], None],
) -> None:
    """Compile what the guest asks for and pass on what it says, until it ends."""
    at: dict[Path, int] = {}
    while True:
        ended = guest.poll() is not None or time.monotonic() > deadline
        service.serve(shared)
        for path in shared.glob("checks-*.jsonl"):
            lines = [line for line in path.read_text().splitlines(True) if line.endswith("\n")]
            for line in lines[at.get(path, 0) :]:
                told(json.loads(line))
            at[path] = len(lines)
        if ended:
            return
        time.sleep(0.1)


def _last_words(shared: Path) -> str:
    for name in ("log", "console"):
        path = shared / name
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        if lines:
            print("\n".join(lines[-40:]), file=sys.stderr)
            return lines[-1]
    return "not a word"
