"""How sinks are written."""

import pytest

from bench import application, reader
from bench.application import Runs
from bench.reader import Reads
from bench.sink import user_of
from steering.errors import BadInput


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader.cores, "usable", lambda: [0, 2, 5])


def test_a_sink_counts_or_is_read() -> None:
    assert user_of("count") is None
    assert user_of("read") == Reads(core=5, batch=64), "the last core, unless another is named"
    assert user_of("read:core=2,batch=1") == Reads(core=2, batch=1)
    assert user_of(str(Reads(2, 9))) == Reads(2, 9)


def test_iperf3_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application.shutil, "which", str)
    runs = user_of("iperf3:core=2")
    assert isinstance(runs, Runs) and runs.is_iperf3 and str(runs) == "iperf3:core=2"
    assert user_of(str(runs)) == runs


def test_any_program_may_be_behind_it() -> None:
    assert user_of("app:run=cat {port}") == Runs(core=5, command="cat {port}")
    runs = user_of("app:core=2,run=cat -a b,c=d:e 'two words' {address}:{port}")
    assert runs == Runs(2, "cat -a b,c=d:e 'two words' {address}:{port}") == user_of(str(runs))
    assert isinstance(runs, Runs)
    assert runs.words("10.0.0.2", 9) == ["cat", "-a", "b,c=d:e", "two words", "10.0.0.2:9"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "drink",
            r"'drink': choose count, read\[:core=N,batch=N\], iperf3\[:core=N\], or app:\[core=N,\]run=",
        ),
        ("count:core=1", "sink 'count:core=1': choose count"),
        ("read:core=1", "core 1 is not to be used here: choose from 0,2,5"),
        ("read:batch=0", "batch=0 is out of range: choose from 1 to 1024 datagrams"),
        ("read:cpu=1", "unknown knob of 'read' 'cpu': choose from batch, core"),
        ("read:run=cat", "sink 'read:run=cat': choose count"),
        ("app", "sink 'app': choose count"),
        ("app:batch=1,run=cat", "sink 'app:batch=1,run=cat': choose count"),
        ("app:core=1,run=cat", "core 1 is not to be used here: choose from 0,2,5"),
        ("app:run=", "choose app:.core=N,.run=COMMAND, with {address} and {port} in it"),
        ("app:run=cat 'a", "sink 'app:core=5,run=cat 'a': No closing quotation"),
        ("app:run=no-such-program -u", "no program 'no-such-program' here: install it"),
    ],
)
def test_what_is_no_sink_is_refused(text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        user_of(text)
