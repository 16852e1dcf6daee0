"""Programs are compiled once a session, and start every test with their maps as new."""

from collections.abc import Callable, Iterator

import pytest
from nic import WITNESS, Nic


@pytest.fixture(scope="session")
def compiled() -> Iterator[Callable[[str], Nic]]:
    """A NIC stage for a policy's spec, compiled when it is first asked for."""
    nics: dict[str, Nic] = {}

    def of(text: str) -> Nic:
        if text not in nics:
            nics[text] = Nic(text)
        return nics[text]

    yield of
    for nic in nics.values():
        nic.close()


@pytest.fixture
def witness(compiled: Callable[[str], Nic]) -> Nic:
    """The NIC stage with a policy that returns what it is told to, at first slot 0."""
    nic = compiled(WITNESS)
    nic.reset()
    nic.set_knobs(slot=0)
    return nic
