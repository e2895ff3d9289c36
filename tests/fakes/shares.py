"""Real shares over a folder of this machine: smbd, and file systems by FUSE. Needs root.

Where this kernel or container has no FUSE, which no package can mend, the skip is visible.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fakes.disks import run
from fakes.ports import free_port
from fakes.room import SHARE

SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")


def require_libsmbclient(real: Callable[..., None]) -> None:
    """What writers.py writes by."""
    try:
        ctypes.CDLL("libsmbclient.so.0")
    except OSError:
        real("libsmbclient")


def require_sftp_server(real: Callable[..., None]) -> None:
    """It lies beside the path."""
    if not SFTP_SERVER.exists():
        real("openssh-sftp-server")


_SMBD = """[global]
server role = standalone server
map to guest = bad user
guest account = games
interfaces = 127.0.0.1
bind interfaces only = yes
smb ports = {port}
disable netbios = yes
disable spoolss = yes
load printers = no
passdb backend = tdbsam:{base}/passdb.tdb
log file = {base}/log
private dir = {base}
lock directory = {base}
state directory = {base}
cache directory = {base}
pid directory = {base}
ncalrpc dir = {base}/rpc
"""
_SHARE = """[{name}]
path = {path}
guest only = yes
guest ok = yes
read only = no
create mask = 0644
"""


class SmbdDiedError(Exception):
    """A process of smbd died of a fault of its own, and its client lost all that it had open."""


@contextmanager
def smbd(folders: Mapping[str, Path]) -> Iterator[str]:
    """A Samba server as it comes, for folders by the name of their share; its smb:// URL. What comes in belongs to `games`.

    It asks for its host's full name at each session. Where nobody answers DNS, its clients give up meanwhile: it runs as localhost.
    Its own files lie elsewhere: helpers of its that outlive it by a moment must not keep the folders' disk from being unmounted.

    Raises SmbdDiedError in place of what failed where its log says PANIC: Samba 4.17 ends a client's process ("Could not unlock
    share mode") now and then where an open for writing meets another program's lease.
    """
    with TemporaryDirectory(prefix="smbd-", ignore_cleanup_errors=True) as name:
        base, port = Path(name), free_port()
        shares = [_SHARE.format(name=name, path=path) for name, path in folders.items()]
        (base / "smb.conf").write_text(_SMBD.format(port=port, base=base) + "".join(shares))
        command = [
            *("unshare", "--uts", "sh", "-c", 'echo localhost >/proc/sys/kernel/hostname && exec "$@"', "-"),
            *("/usr/sbin/smbd", "--foreground", "--no-process-group", f"--configfile={base}/smb.conf"),
        ]
        with open(base / "output", "wb") as output:
            server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            _answers(server, port, base)
            yield f"smb://127.0.0.1:{port}"
        except AssertionError as error:
            if panics := [line.strip() for line in (base / "log").read_text().splitlines() if "PANIC" in line]:
                raise SmbdDiedError(panics[0]) from error
            raise
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(20)


def _answers(server: subprocess.Popen[bytes], port: int, base: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            said = "".join(file.read_text() for file in (base / "output", base / "log") if file.exists())
            assert server.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        else:
            return


@contextmanager
def bindfs(backing: Path, mountpoint: Path) -> Iterator[None]:
    with _fuse(mountpoint, "bindfs", "-f", backing, mountpoint):
        yield


@contextmanager
def sshfs(backing: Path, mountpoint: Path) -> Iterator[None]:
    """Through a real sftp server, without ssh."""
    server = mountpoint.with_name(f"{mountpoint.name}.sftp")
    server.write_text(f"#!/bin/sh\nexec {SFTP_SERVER}\n")  # without ssh's own arguments
    server.chmod(0o755)
    with _fuse(mountpoint, "sshfs", "-f", "-o", f"ssh_command={server},allow_other", f"here:{backing}", mountpoint):
        yield


@contextmanager
def mtimes(backing: Path, mountpoint: Path) -> Iterator[None]:
    """A share that tells the mtime as ctime (fuse_share.py)."""
    fault = backing.with_name(f"{backing.name}.fault")
    fault.write_text("mtimes")
    with _fuse(mountpoint, sys.executable, SHARE, backing, mountpoint, fault):
        yield


@contextmanager
def exfat(backing: Path, mountpoint: Path) -> Iterator[None]:
    """exFAT by FUSE, on a loop device with an image in the folder `backing`."""
    image = backing / "image"
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    made = run("mkfs.exfat", image)
    assert made.returncode == 0, made.stderr
    loop = run("losetup", "--find", "--show", image)
    if loop.returncode:
        pytest.skip(f"no loop device here: {loop.stderr.strip()}")
    try:
        with _fuse(mountpoint, "mount.exfat-fuse", "-d", loop.stdout.strip(), mountpoint):
            yield
    finally:
        run("losetup", "-d", loop.stdout.strip())


@contextmanager
def _fuse(mountpoint: Path, *command: str | Path) -> Iterator[None]:
    """`command` serves the mount as long as there is one, and has let go of the disk below when this is left."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"no FUSE here: {error.strerror}")
    with open(mountpoint.with_name(f"{mountpoint.name}.log"), "w+b") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while not mountpoint.is_mount():
                assert server.poll() is None, Path(log.name).read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield
        finally:
            run("umount", "--lazy", mountpoint)
            server.wait(20)
