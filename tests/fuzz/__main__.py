"""``make fuzz``: fuzz the NIC stage for a while, keep what reaches more, write down how far."""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from build import CORPUS, FOR_LIBFUZZER, ROOT, build

RESULT = ROOT / "docs/results/trust/fuzz.json"
_PULSE = re.compile(r"#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+)")
_MISSING = "no fuzzer in clang: type 'apt install libclang-rt-14-dev' (or that of your clang)"


def main() -> int:
    """Exit code 1 where an input breaks it; that input is left in the folder that is named."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program, grown = Path(folder, "fuzz"), Path(folder, "grown")
        grown.mkdir()
        try:
            build(FOR_LIBFUZZER, program)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            print(f"fuzz: {_MISSING if 'clang_rt' in said else said}", file=sys.stderr)
            return 2
        crashes = Path(tempfile.mkdtemp(prefix="overspray-fuzz-"))
        begin = time.monotonic()
        said = _run(
            program,
            *(f"-max_total_time={given.seconds}", f"-seed={given.seed}", "-max_len=1024"),
            *("-print_final_stats=1", f"-artifact_prefix={crashes}/", str(grown), str(CORPUS)),
        )
        took = time.monotonic() - begin
        if found := sorted(crashes.iterdir()):
            print(f"fuzz: {found[0]} breaks it:\n{said[-3000:]}", file=sys.stderr)
            return 1
        crashes.rmdir()
        kept = Path(folder, "kept")
        kept.mkdir()
        _run(program, "-merge=1", str(kept), str(CORPUS), str(grown))
        for path in CORPUS.iterdir():
            path.unlink()
        for path in kept.iterdir():
            (CORPUS / path.name).write_bytes(path.read_bytes())
    _write_down(said, took, given.seed)
    return 0


def _run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    return done.stdout + done.stderr


def _write_down(said: str, took: float, seed: int) -> None:
    pulses = [tuple(int(number) for number in pulse) for pulse in _PULSE.findall(said)]
    runs = int(re.findall(r"number_of_executed_units: (\d+)", said)[-1])
    edges = pulses[-1][1]
    last = next(number for number, covered, _ in pulses if covered == edges)
    result = {
        "command": f"make fuzz ARGS='--seconds {round(took)} --seed {seed}'",
        "inputs": runs,
        "seconds": round(took, 1),
        "edges": edges,
        "features": pulses[-1][2],
        "last_new_edge_at_input": last,
        "corpus": len(list(CORPUS.iterdir())),
        "crashes": 0,
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
