"""``overspray doctor``: what it finds, and what it says where something is missing."""

import errno
import json
import shutil
from pathlib import Path

import pytest
from commands import WITHOUT_RIGHTS, overspray

from steering import cores, doctor, trials
from steering.bpf import BpfError
from steering.errors import OversprayError


def rows(*before: str) -> tuple[int, dict[str, dict[str, object]]]:
    done = overspray("doctor", "--json", before=before)
    assert "Traceback" not in done.stderr, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    return done.returncode, {row["name"]: row for row in report["rows"]}


def test_the_main_job_can_run_here() -> None:
    """Or these tests would not have come so far."""
    code, found = rows()
    assert code == 0, found
    assert {name for name, row in found.items() if row["needed"]} >= {"bcc", "live frames", "cpumap programs"}
    assert found["cores"]["value"] == (
        f"online {cores.form(cores.online())}, allowed {cores.form(cores.usable())}"
    )


def test_every_row_says_what_it_means_and_what_to_type() -> None:
    for row in doctor.examine():
        assert row.name and row.value and row.meaning and row.fix


def test_a_person_reads_a_table() -> None:
    done = overspray("doctor")
    assert done.returncode == 0
    assert "native XDP on veth" in done.stdout
    assert done.stdout.rstrip().endswith("The main job can run here.")


def test_without_rights_it_says_so_and_is_no_traceback() -> None:
    code, found = rows(*WITHOUT_RIGHTS)
    assert code == 1
    assert found["capabilities"]["value"] == "without CAP_NET_ADMIN, CAP_SYS_ADMIN"
    for name in ("live frames", "devices", "BPF"):
        assert (found[name]["ok"], found[name]["value"]) == (False, "not permitted")
        assert "sudo" in str(found[name]["fix"])
    assert found["cores"]["ok"], "needs no rights"
    done = overspray("wire", "bench", before=WITHOUT_RIGHTS)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not possible here: capabilities" in done.stderr and done.stderr.count("\n") == 1


def test_cores_that_are_not_allowed_do_not_count() -> None:
    core = str(cores.usable()[0])
    code, found = rows("taskset", "-c", core)
    assert code == 1
    assert not found["cores"]["ok"]
    assert str(found["cores"]["value"]).endswith(f"allowed {core}")


def test_cores_that_are_not_online_do_not_count(tmp_path: Path) -> None:
    """Another machine's list of cores, in a mount namespace of its own."""
    last = cores.usable()[-1]
    (tmp_path / "online").write_text(f"{last}\n")
    script = f'mount --bind {tmp_path}/online /sys/devices/system/cpu/online && exec "$@"'
    code, found = rows("unshare", "--mount", "sh", "-c", script, "sh")
    assert code == 1
    assert found["cores"]["value"] == f"online {last}, allowed {last}"


def test_a_missing_ability_is_a_row_whose_fix_is_for_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(number: int) -> doctor.Row:
        def ask(*_: object) -> None:
            raise BpfError("live frames", number)

        monkeypatch.setattr(trials.bpf, "run_live", ask)
        [row] = doctor.examine("live frames")
        assert not row.ok
        return row

    assert "sudo" in refused(errno.EPERM).fix
    assert "ulimit -n" in refused(errno.EMFILE).fix
    row = refused(errno.EINVAL)
    assert (row.value, row.fix) == ("live frames: Invalid argument", "boot Linux 5.18 or newer")
    with pytest.raises(OversprayError, match=f"not possible here: {row.name}: {row.value}: {row.fix}"):
        doctor.require("live frames")


def test_tools_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert {row.name: row.value for row in doctor.examine("Docker", "iperf3", "tshark")} == {
        "Docker": "not there",
        "iperf3": "not there",
        "tshark": "not there",
    }


@pytest.mark.parametrize(
    ("text", "ok"),
    [("[none] integrity confidentiality", True), ("none integrity [confidentiality]", False)],
)
def test_lockdown(text: str, ok: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lockdown").write_text(text)
    monkeypatch.setattr(doctor, "_LOCKDOWN", tmp_path / "lockdown")
    [row] = doctor.examine("lockdown")
    assert row.ok == ok


def test_an_unknown_row_is_a_mistake_in_the_program() -> None:
    with pytest.raises(KeyError, match="no row 'live frame'"):
        doctor.require("live frame")
