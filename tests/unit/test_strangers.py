"""Whatever a file of a stranger holds: it is read, or refused in one line; never a traceback."""

import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mangled import damaged, other

from bench import answers_words, experiment, findings, quoted, verify_kept
from bench.check import examine
from bench.experiment import Experiment
from bench.lab_plan import LabSpec, plan
from bench.report import Report, html, markdown
from bench.results import EXPERIMENT, OBSERVERS, PROFILES, SAMPLES, Results
from bench.verify_capture import readdressed
from bench.verify_kept import table
from prototype import frames as captures
from prototype import records
from prototype.costs import Costs
from prototype.sweep import Folder, Sweep
from steering import registry
from steering.errors import BadInput, OversprayError

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/single_flow"
PROFILED = ROOT / "docs/results/answers/bottleneck"
SHELF = ROOT / "steering/policies"
TWIN = ROOT / "docs/results/twin"
LAB = plan(LabSpec("docker"))
often = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_or_refused(read: Callable[[], object]) -> None:
    try:
        read()
    except OversprayError as error:
        line = str(error)
        assert line and "\n" not in line, repr(line)


def used(found: Experiment) -> None:
    """All that is asked of an experiment before anything runs."""
    found.estimate()
    for point in found.points():
        found.order(point, 0)


def reported(folder: Path) -> None:
    """All that a report reads."""
    report = Report(Results.open(folder))
    report.results.profiles()
    markdown(report)
    html(report, ())


READERS: dict[str, tuple[Path, Callable[[Path], object]]] = {
    "experiment": (GOLDEN / EXPERIMENT, lambda path: used(experiment.load(path))),
    "shelf's experiment": (
        ROOT / "bench/experiments/answers/coalescing.toml",
        lambda path: used(experiment.load(path)),
    ),
    "findings": (ROOT / "bench/paper_figures.toml", findings.load),
    "costs": (TWIN / "costs.json", Costs.read),
    "comparison": (
        ROOT / "docs/results/trust/verify.json",
        lambda path: table(verify_kept.read(path)["parts"]),
    ),
}


@pytest.mark.parametrize("name", READERS)
@often
@given(data=st.data())
def test_one_file(name: str, data: st.DataObject) -> None:
    original, read = READERS[name]
    text = original.read_bytes()
    structured = original.suffix == ".json" and data.draw(st.booleans())
    changed = data.draw(other(text.decode())).encode() if structured else data.draw(damaged(text))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, original.name)
        path.write_bytes(changed)
        read_or_refused(lambda: read(path))


FOLDERS: list[tuple[Path, str, Callable[[Path], object]]] = [
    *((GOLDEN, file, reported) for file in (EXPERIMENT, SAMPLES, "fingerprint-before.json")),
    *((PROFILED, file, reported) for file in (PROFILES,)),
    (TWIN / "lab", OBSERVERS, reported),
    (GOLDEN, SAMPLES, records.read_results),
    (GOLDEN, "fingerprint-before.json", records.host_of),
    (TWIN / "ceiling", "sweep.toml", lambda path: Folder.open(path).missing()),
    (TWIN / "ceiling", "samples.jsonl", lambda path: Folder.open(path).missing()),
]


@pytest.mark.parametrize(
    ("original", "file", "read"),
    FOLDERS,
    ids=[f"{folder.name}-{file}-{number}" for number, (folder, file, _) in enumerate(FOLDERS)],
)
@settings(often, max_examples=25)
@given(data=st.data())
def test_one_of_several(
    original: Path, file: str, read: Callable[[Path], object], data: st.DataObject
) -> None:
    lines = (original / file).read_text().splitlines(keepends=True)
    if file.endswith("jsonl"):
        lines = lines[:40]
    if file.endswith((".json", ".jsonl")) and data.draw(st.booleans()):
        text = "".join(lines) if file.endswith(".json") else lines[0]
        changed = data.draw(other(text))
        whole = changed if file.endswith(".json") else "".join([changed + "\n", *lines[1:]])
        content = whole.encode()
    else:
        content = data.draw(damaged("".join(lines).encode()))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(original, copy, ignore=shutil.ignore_patterns("plots", "*.html"))
        for short in copy.glob("*.jsonl"):
            text = short.read_text()
            short.write_text("".join(text.splitlines(keepends=True)[:40]))
        (copy / file).write_bytes(content)
        read_or_refused(lambda: read(copy))


@often
@given(data=st.data())
def test_what_is_said_of_answers(data: st.DataObject) -> None:
    text = (ROOT / "docs/results/answers" / answers_words.WORDS).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, answers_words.WORDS).write_bytes(data.draw(damaged(text)))
        read_or_refused(lambda: answers_words.read(Path(folder)))
    quote = data.draw(st.text(alphabet="{}|/ ab", max_size=20))
    read_or_refused(lambda: quoted.filled(quote, Path("nowhere")))


@often
@given(data=st.data())
def test_a_capture(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "in.pcap")
        captures.write(path, captures.generate(10, flows=2))
        path.write_bytes(data.draw(damaged(path.read_bytes())))
        read_or_refused(lambda: readdressed(list(captures.read(path)), LAB))


@often
@given(text=st.text(max_size=40))
def test_a_sweeps_text(text: str) -> None:
    read_or_refused(lambda: Sweep.parse(text, "a text"))


@often
@given(data=st.data())
def test_a_policys_python(data: st.DataObject) -> None:
    source = SHELF / "stream"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(source / "policy.h", folder)
        changed = data.draw(damaged((source / "policy.py").read_bytes()))
        Path(folder, "policy.py").write_bytes(changed)
        read_or_refused(lambda: registry.load(Path(folder)).knobs_header())


@settings(often, max_examples=15)
@given(data=st.data())
def test_a_policys_c(data: st.DataObject) -> None:
    """It is compiled and run as well, as the check of a policy does it."""
    source = SHELF / "flowcell"
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.check.os.geteuid", lambda: 1000)
        shutil.copy(source / "policy.py", folder)
        changed = data.draw(damaged((source / "policy.h").read_bytes()))
        Path(folder, "policy.h").write_bytes(changed)
        for fault in examine(Path(folder), cost=False).faults:
            assert "\n" not in " ".join(str(fault).split())


@pytest.mark.parametrize("link", [0, 113, 195])
def test_a_capture_of_another_link_type(tmp_path: Path, link: int) -> None:
    """0 (a BSD's loopback) is one as well; pcapng names it with each interface."""
    frame = bytes(64)
    packet = struct.pack("<5I", 0, 0, 0, len(frame), len(frame)) + frame
    blocks = (
        (0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)),
        (1, struct.pack("<HHI", link, 0, 0)),
        (6, packet),
    )
    path = tmp_path / "in.pcapng"
    with path.open("wb") as file:
        for kind, body in blocks:
            size = struct.pack("<I", len(body) + 12)
            file.write(struct.pack("<I", kind) + size + body + size)
    with pytest.raises(BadInput, match=f"link type {link}:"):
        captures.read(path)
