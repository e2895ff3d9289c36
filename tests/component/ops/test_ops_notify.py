"""What systemd is told, over real datagram sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestd.ops.notify import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd opens it, and its name as NOTIFY_SOCKET gives it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@ingestd-test-{os.getpid()}-{id(request)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name[1:] if name.startswith("@") else name)
        listening.settimeout(5)
        yield listening, name


def test_each_word_is_one_datagram_in_the_form_of_sd_notify(manager: tuple[socket.socket, str]) -> None:
    """sd_notify(3): VARIABLE=VALUE, one a line."""
    listening, name = manager
    notify = ServiceManager({"NOTIFY_SOCKET": name})
    notify.ready("watching")
    notify.status("3 files pending")
    notify.alive()
    notify.stopping(25.5)
    assert [listening.recv(4096) for _ in range(4)] == [
        b"READY=1\nSTATUS=watching",
        b"STATUS=3 files pending",
        b"WATCHDOG=1",
        b"STOPPING=1\nEXTEND_TIMEOUT_USEC=25500000",
    ]


def test_a_status_can_not_smuggle_in_another_assignment(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    ServiceManager({"NOTIFY_SOCKET": name}).status("away\nMAINPID=1\r\nREADY=1 \udcff")
    assert listening.recv(4096) == b"STATUS=away MAINPID=1 READY=1 \\udcff"


def test_a_manager_that_does_not_read_holds_nobody_up(manager: tuple[socket.socket, str]) -> None:
    """The loop beats whatever becomes of the manager's queue."""
    listening, name = manager
    notify = ServiceManager({"NOTIFY_SOCKET": name})
    for _ in range(2000):
        notify.alive()
    assert listening.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize("name", ["", "/nowhere/notify", "vsock:2:1234", "@", "/" + "x" * 300])
def test_nobody_to_tell_is_no_fault(name: str) -> None:
    notify = ServiceManager({"NOTIFY_SOCKET": name})
    notify.ready("watching")
    notify.status("here")
    notify.alive()
    notify.stopping(1)
    ServiceManager({}).ready("watching")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_the_one_meant_for_this_process(environment: dict[str, str], seconds: float | None) -> None:
    """sd_watchdog_enabled(3)."""
    assert ServiceManager(environment).watchdog_seconds == seconds
