"""Where the receive path spends its time: stacks sampled by perf, folded into stages.

Samples are taken by the cores' clocks (there are no hardware counters here), so what runs with
interrupts off is charged to the moment they come on again; the stack around it is right.
"""

import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from bench.bed import Bed
from bench.run import Load, Place, measured
from bench.stages import FREQUENCY, Profile, stacks, stage
from bench.variant import Variant
from steering.errors import OversprayError

_SETTLE = 0.4
"""Seconds at both ends of a run that are left out."""


def profile(bed: Bed, variant: Variant, load: Load) -> Profile:
    """Sample one run.

    Raises:
        OversprayError: there is no perf, or it may not sample.
    """
    if shutil.which("perf") is None:
        raise OversprayError("perf is not installed: type 'apt install linux-perf'")
    with tempfile.TemporaryDirectory() as folder, bed.in_effect(variant) as effect:
        measured(bed, variant, effect, load.lasting(_SETTLE), Place())  # compiles, connects
        file = Path(folder, "perf.data")
        record = f"exec perf record -q -a -g -e cpu-clock -F {FREQUENCY} -o {file} sleep"
        during = f"sleep {_SETTLE:g}; {record} {load.seconds - 2 * _SETTLE:g}"
        sampler = subprocess.Popen(
            ["sh", "-c", during],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        sample = measured(bed, variant, effect, load, Place())
        told = sampler.communicate()[1]
        if sampler.returncode:
            raise OversprayError(f"perf record: {told.strip().splitlines()[-1]}")
        script = subprocess.run(
            ["perf", "script", "-i", str(file), "-F", "cpu,ip,sym"],
            capture_output=True,
            text=True,
            check=True,
        )
    place = bed.placement
    wanted = dict.fromkeys([place.nic, *place.workers, *([] if place.app is None else [place.app])])
    cores = {core: Counter[str]() for core in wanted}
    for core, frames in stacks(script.stdout.splitlines()):
        if core in cores:
            cores[core][stage(frames)] += 1
    sampled = load.seconds - 2 * _SETTLE
    return Profile(str(variant), sampled, round(sample.rate_pps * sampled), cores)
