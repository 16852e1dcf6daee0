"""The socket between commands and controllers: who lives, who is refused, what an error becomes."""

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steering import control
from steering.control import Address, Dead, Server, ask
from steering.errors import BadInput, OversprayError

HERE = Address(4026531840, "nic0")


@pytest.fixture(autouse=True)
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(control, "SOCKETS", tmp_path / "control")
    return tmp_path / "control"


def answer(request: control.Request) -> Any:
    match request["do"]:
        case "echo":
            return request["text"]
        case "bad":
            raise BadInput("no such\nknob")
        case "fail":
            raise OversprayError("the kernel refused")
    raise ZeroDivisionError("a bug")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(HERE, answer) as one:
        yield one
        one.withdraw()


def test_questions_are_answered_at_once(server: Server) -> None:
    assert ask(HERE, {"do": "echo", "text": "é" * 5000}) == "é" * 5000
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(ask(HERE, {"do": "echo", "text": n})))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(20))


def test_errors_keep_their_kind_and_are_one_line(server: Server) -> None:
    with pytest.raises(BadInput, match=r"^no such knob$"):
        ask(HERE, {"do": "bad"})
    with pytest.raises(OversprayError, match="refused") as caught:
        ask(HERE, {"do": "fail"})
    assert caught.value.exit_code == 1


def test_a_bug_in_an_answer_does_not_end_the_controller(server: Server) -> None:
    with pytest.raises(OversprayError, match="ZeroDivisionError"):
        ask(HERE, {"do": "nonsense"})
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(HERE.path))
        line.sendall(b"no JSON\n")
        assert b"JSONDecodeError" in line.recv(1000)
    assert ask(HERE, {"do": "echo", "text": "still here"}) == "still here"


def test_only_one_has_a_device(server: Server) -> None:
    with pytest.raises(OversprayError, match="attached already"):
        Server(HERE, answer)
    with Server(Address(HERE.inode, "nic1"), answer) as other:
        assert len(control.listed()) == 2
        other.withdraw()
    assert control.listed() == [HERE]


def test_withdrawn_is_free_for_the_next(server: Server) -> None:
    server.withdraw()
    with Server(HERE, answer) as other:
        assert ask(HERE, {"do": "echo", "text": 1}) == 1
        other.withdraw()


def test_nobody_else_may_ask(server: Server, sockets: Path) -> None:
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert stat.S_IMODE(HERE.path.stat().st_mode) == 0o600


def killed_server(sockets: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from steering import control;"
        "control.SOCKETS = Path(sys.argv[1]);"
        "control.Server(control.Address(4026531840, 'nic0'), print);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(sockets)], check=False)


def test_a_killed_controllers_socket_is_known_as_dead(sockets: Path) -> None:
    killed_server(sockets)
    assert control.listed() == [HERE]
    with pytest.raises(Dead):
        ask(HERE, {"do": "echo"})
    assert control.sweep() == [HERE]
    assert control.listed() == []
    killed_server(sockets)
    with Server(HERE, answer) as one:
        assert ask(HERE, {"do": "echo", "text": 1}) == 1
        assert control.sweep() == []
        one.withdraw()


def test_a_stuck_controller_is_named(sockets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sockets.mkdir()
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(HERE.path))
        deaf.listen(1)
        with pytest.raises(OversprayError, match=rf"kill {os.getpid()}"):
            ask(HERE, {"do": "status"}, 0.05)


def test_found_by_name(server: Server) -> None:
    assert control.find("nic0") == HERE
    with pytest.raises(BadInput, match="'nic1' is not attached"):
        control.find("nic1")
    with Server(Address(7, "nic0"), answer) as other:
        with pytest.raises(BadInput, match="several places"):
            control.find("nic0")
        other.withdraw()


def test_namespaces_and_policies_as_people_write_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert control.read_namespace(None) is None
    assert control.read_namespace("blue") == "blue"
    assert control.read_namespace("123456789") == 123456789
    assert str(control.read_policy("backlog:cell=4")) == "backlog:cell=4"
    monkeypatch.chdir(tmp_path)
    assert control.read_policy("@mine:cell=4").path == str(tmp_path / "mine")
