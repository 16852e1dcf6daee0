"""How sinks are written."""

import pytest

from bench import reader
from bench.reader import Reads, sink_of
from steering.errors import BadInput


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader.cores, "usable", lambda: [0, 2, 5])


def test_a_sink_counts_or_is_read() -> None:
    assert sink_of("count") is None
    assert sink_of("read") == Reads(core=5, batch=64), "the last core, unless another is named"
    assert sink_of("read:core=2,batch=1") == Reads(core=2, batch=1)
    assert sink_of(str(Reads(2, 9))) == Reads(2, 9)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("drink", r"sink 'drink': choose count, or read\[:core=N,batch=N\]"),
        ("count:core=1", "sink 'count:core=1': choose count"),
        ("read:core=1", "core 1 is not to be used here: choose from 0,2,5"),
        ("read:batch=0", "batch=0 is out of range: choose from 1 to 1024 datagrams"),
        ("read:cpu=1", "unknown knob of 'read' 'cpu': choose from batch, core"),
    ],
)
def test_what_is_no_sink_is_refused(text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        sink_of(text)
