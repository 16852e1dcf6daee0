"""What the fuzzer has found worth keeping (tests/fuzz), once more, under gcc's sanitizers."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from steering.compile import counter_names

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
from build import ALONE, CORPUS, ROOT, build

_UNREACHED = {
    "remote",  # the policy is local
    "refused_slot",
    "refused_room",
    "drop_strip",  # no frame that was parsed is too short for it
}
Replay = Callable[[Path], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    def of(sources: Path) -> subprocess.CompletedProcess[str]:
        program = tmp_path_factory.mktemp("fuzz") / "fuzz"
        build(ALONE, program, sources)
        files = sorted(str(path) for path in CORPUS.iterdir())
        return subprocess.run([str(program), *files], capture_output=True, text=True)

    return of


def test_the_corpus_harms_nothing_and_reaches_every_counter(replay: Replay) -> None:
    done = replay(ROOT / "xdp")
    assert done.returncode == 0, done.stderr[-2000:]
    counts = dict(zip(counter_names("steer_counter"), map(int, done.stdout.split()), strict=True))
    assert counts["seen"] == len(list(CORPUS.iterdir()))
    assert {name for name, count in counts.items() if not count} == _UNREACHED


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("(void *)(taken_ + 1) > (cursor)->end", "0", "heap-buffer-overflow"),
        ("if (UNLIKELY(ecn != inner.ecn))", "inner.ethernet->h_source[0] ^= 2;", "was changed"),
        ("bpf_xdp_adjust_head(ctx, bytes)", "bpf_xdp_adjust_head(ctx, bytes - 2)", "length"),
    ],
)
def test_planted_bugs_are_found(
    replay: Replay, tmp_path: Path, right: str, wrong: str, said: str
) -> None:
    copy = tmp_path / "xdp"
    shutil.copytree(ROOT / "xdp", copy)
    [file] = [path for path in copy.rglob("*.[ch]") if right in path.read_text()]
    file.write_text(file.read_text().replace(right, wrong))
    done = replay(copy)
    assert done.returncode and said in done.stderr
