"""What `policy check` says where it takes long: a loop without an end, and a person without root."""

from pathlib import Path

from commands import WITHOUT_RIGHTS, overspray
from owned import BODY_LINE, own, written

from prototype.check import check


def test_a_loop_without_an_end_is_one_line(tmp_path: Path) -> None:
    """The verifier walks a million instructions before it gives up."""
    loop = "for (__u32 n = 0; n < packet->hash; n++)\n        flow->seen += READ_SHARED(workers->count);"
    mine = own(tmp_path / "mine", f"{loop}\n    return 0;")
    [problem] = check(mine).problems
    assert problem.file == mine.header and problem.line in (BODY_LINE, BODY_LINE + 1)
    assert "the verifier stopped here: BPF program is too large" in problem.what


def test_without_rights_the_kernels_half_is_left_out(tmp_path: Path) -> None:
    done = overspray("policy", "check", str(written(tmp_path / "mine")), before=WITHOUT_RIGHTS)
    assert done.returncode == 1 and "kept by 1,500,000 packets" in done.stdout
    assert "the kernel's half was not looked at: " in done.stderr and "sudo" in done.stderr
