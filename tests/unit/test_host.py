"""What is found out about the host, and what doctor says of it."""

import json
import platform
from pathlib import Path

import pytest

import steering.doctor
from bench.cli import run
from steering import bpf, doctor, host, tracefs, trial
from steering.errors import OversprayError
from steering.host import Probe, kernel_headers, newest, version_of

ARCH = host._ARCHITECTURES[platform.machine()][0]


def configured(directory: Path) -> Path:
    """Make a directory that looks like packaged headers."""
    for part in ("include/generated", f"arch/{ARCH}/include/generated"):
        (directory / part).mkdir(parents=True)
    (directory / "include/generated/autoconf.h").touch()
    return directory


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.delenv(host.HEADERS_VARIABLE, raising=False)
    return tmp_path / "modules", tmp_path / "src"


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44-x", (6, 18)), ("5.4.0-100-generic", (5, 4)), ("none", (0, 0))],
)
def test_version(release: str, version: tuple[int, int]) -> None:
    assert version_of(release) == version


def test_own_headers_come_first(places: tuple[Path, Path]) -> None:
    modules, sources = places
    configured(sources / "linux-headers-9.9.0-1-x")
    own = configured(modules / "6.1.0-1-x" / "build")
    assert kernel_headers(modules, sources, "6.1.0-1-x") == own


def test_newest_configured_stand_in(places: tuple[Path, Path]) -> None:
    modules, sources = places
    configured(sources / "linux-headers-6.1.0-9-amd64")
    best = configured(sources / "linux-headers-6.1.0-56-amd64")
    (sources / "linux-headers-6.1.0-57-common").mkdir()
    assert kernel_headers(modules, sources, "6.18.0") == best


def test_plain_flavour_before_special_ones() -> None:
    names = ["linux-headers-6.1.0-9-amd64", "linux-headers-6.1.0-56-rt-amd64"]
    assert newest(Path(name) for name in names).name == names[0]


def test_without_headers_the_error_says_what_to_type(places: tuple[Path, Path]) -> None:
    with pytest.raises(OversprayError, match="apt-get install linux-headers-"):
        kernel_headers(*places, release="6.18.0")


def test_named_headers_are_taken_or_refused(
    places: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = configured(tmp_path / "mine")
    monkeypatch.setenv(host.HEADERS_VARIABLE, str(chosen))
    assert kernel_headers(*places) == chosen
    monkeypatch.setenv(host.HEADERS_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(OversprayError, match="nowhere"):
        kernel_headers(*places)


def test_a_two_instruction_program() -> None:
    assert bpf.returning(2).hex() == "b700000002000000" + "9500000000000000"


def test_tools_are_optional_and_named() -> None:
    probes = doctor.tools(which=lambda name: None)
    assert not any(probe.ok or probe.needed for probe in probes)
    assert all("apt-get install" in probe.fix for probe in probes)


GOOD = Probe("sun", True, "shining", "light", "wait")
OPTIONAL = Probe("moon", False, "", "tides", "wait", needed=False)
BAD = Probe("air [thin]", False, "none", "breathing", "type 'open window'")


@pytest.mark.parametrize(("probes", "code"), [([GOOD], 0), ([GOOD, OPTIONAL], 0), ([GOOD, BAD], 1)])
def test_doctor_answers(
    probes: list[Probe],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(steering.doctor, "examine", lambda: probes)
    assert run(["doctor"]) == code
    table = capsys.readouterr().out
    assert all(probe.name in table for probe in probes)
    assert run(["doctor", "--json"]) == code
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] == (code == 0)
    assert [row["name"] for row in report["probes"]] == [probe.name for probe in probes]


def test_require_names_the_first_missing_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [GOOD, OPTIONAL])
    doctor.require()
    monkeypatch.setattr(doctor, "examine", lambda: [GOOD, BAD, BAD])
    with pytest.raises(OversprayError, match=r"air.*open window.*overspray doctor"):
        doctor.require()


def test_every_probe_explains_itself() -> None:
    for probe in doctor.examine():
        assert probe.name
        assert probe.meaning
        assert probe.ok or probe.fix


@pytest.mark.root
def test_the_kernel_does_what_the_main_job_needs() -> None:
    assert [probe.name for probe in doctor.examine() if probe.needed and not probe.ok] == []


@pytest.mark.root
def test_trials_leave_nothing_behind() -> None:
    devices = sorted(Path("/sys/class/net").iterdir())
    trial.trials()
    assert sorted(Path("/sys/class/net").iterdir()) == devices


def test_a_trial_that_fails_is_an_answer() -> None:
    def refused() -> str:
        raise OSError(95, "Operation not supported")

    probe = trial.Trial("x", refused, "m", "f").probe()
    assert (probe.ok, probe.value) == (False, "tried: [Errno 95] Operation not supported")


@pytest.mark.root
def test_tracefs_is_read_where_it_is_not_mounted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tracefs, "MOUNTED", tmp_path)
    mounts, files = (Path("/proc/self", name) for name in ("mounts", "fd"))
    before = (mounts.read_text(), len(list(files.iterdir())))
    with tracefs.opened() as root:
        assert "reason" in (root / "events/skb/kfree_skb/format").read_text()
        assert mounts.read_text() == before[0]
    assert (mounts.read_text(), len(list(files.iterdir()))) == before
