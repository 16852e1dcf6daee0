"""What tests with namespaces share: a lab of their own, and a host that is left as it was."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from swarm import Container, Swarm, swarm_up, why_not

from bench import lab as labs
from steering import journal, netns

TEST_LAB = "tlab"


def _host() -> dict[str, object]:
    """What a test must leave as it was: only what nobody but this test run changes."""
    owners = (journal.owner_of(path) for path in journal.JOURNALS.glob("*.jsonl"))
    return {
        "namespaces": netns.names(TEST_LAB),
        "labs": sorted(path.name for path in labs.STATE.glob(f"{TEST_LAB}*")),
        "journals": [owner for owner in owners if owner.pid == os.getpid()],
        "devices": sorted(name for _, name in socket.if_nameindex()),
        "namespace": netns.identity(None),
        "rps_sock_flow_entries": Path("/proc/sys/net/core/rps_sock_flow_entries").read_text(),
    }


@pytest.fixture
def host_as_found() -> Iterator[None]:
    """Fails the test that leaves namespaces, journals, devices or settings behind."""
    before = _host()
    yield
    assert _host() == before


MakeLab = Callable[..., labs.Lab]


@pytest.fixture
def make_lab(host_as_found: None) -> Iterator[MakeLab]:
    """Makes labs of the tests' own name; takes them down afterwards."""
    with ExitStack() as stack:

        def make(case: str, **settings: Any) -> labs.Lab:
            return stack.enter_context(
                labs.held(labs.LabSpec(case=case, name=TEST_LAB, **settings))
            )

        yield make


@pytest.fixture
def namespace(host_as_found: None) -> Iterator[str]:
    """An empty namespace."""
    name = f"{TEST_LAB}-empty"
    netns.create(name)
    yield name
    netns.remove(name)


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """Two engines and their network: a module's own, for some tests leave rules there."""
    if reason := why_not():
        pytest.skip(f"host cannot: {reason}")
    with swarm_up(tmp_path_factory.mktemp("swarm")) as pair:
        yield pair


@pytest.fixture(scope="module")
def here(swarm: Swarm) -> Container:
    """A container on the host that is looked at."""
    return swarm.here.run("here0")


@pytest.fixture(scope="module")
def there(swarm: Swarm, here: Container) -> Container:
    """A container on the other host."""
    return swarm.there.run("there0")
