"""Builds xdp/host/fuzz.c: for libFuzzer, or alone, to be given files."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from steering.registry import find
from steering.spec import Spec

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
FOR_LIBFUZZER = ("clang", "-fsanitize=fuzzer,address,undefined")
ALONE = ("gcc", "-fsanitize=address,undefined", "-DFUZZ_ALONE")


def build(kind: tuple[str, ...], target: Path, sources: Path = ROOT / "xdp") -> None:
    """Compile ``sources``/host/fuzz.c; CalledProcessError, with stderr, where that fails."""
    policy = find(Spec("local"))
    if shutil.which(kind[0]) is None:
        raise FileNotFoundError(f"no {kind[0]}: type 'apt install {kind[0]}'")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "knobs.h").write_text(policy.knobs_header())
        subprocess.run(
            [
                *kind,
                *("-std=gnu11", "-O1", "-g", "-fno-strict-aliasing", "-DCORES=1"),
                # Headers are read as words of other types, at even addresses.
                *("-fno-sanitize=alignment", "-fno-sanitize-recover=all"),
                *(f'-DPOLICY="{policy.header}"', f"-I{sources / 'include'}", f"-I{folder}"),
                *(str(sources / "host/fuzz.c"), "-o", str(target)),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
