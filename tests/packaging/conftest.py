"""What is costly and shared: the wheel, the locked wheels, and a Debian tree that is made once and kept.

The kept things lie outside the repository, in $INGESTD_TEST_CACHE, else $XDG_CACHE_HOME, else root's in /var/cache and another
user's in ~/.cache; the directory `ingestd-test` there may be deleted at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = [ROOT / "deploy" / "requirements.txt", ROOT / "deploy" / "requirements-build.txt"]
SUITE, PYTHON, PACKAGES = "bookworm", "3.11", "systemd,dbus,python3,python3-venv"

Run = Callable[..., str]


def run_checked(*command: str | os.PathLike[str], cwd: Path | None = None) -> str:
    """Standard output; a failure shows both streams."""
    done = subprocess.run(command, cwd=cwd, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{command} gave {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def run() -> Run:
    return run_checked


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def as_root() -> None:
    """debootstrap, namespaces and chroot need root: missing is a failure in CI and a visible skip elsewhere."""
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs root: debootstrap, chroot, namespaces")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a wheel, built by the locked hatchling."""
    target = tmp_path_factory.mktemp("wheel")
    run_checked(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target, cwd=ROOT)
    [built] = target.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def cache() -> Path:
    home = os.environ.get("INGESTD_TEST_CACHE") or os.environ.get("XDG_CACHE_HOME")
    ours = "/var/cache" if os.geteuid() == 0 else os.path.expanduser("~/.cache")
    path = Path(home or ours) / "ingestd-test"
    path.mkdir(parents=True, exist_ok=True)
    return path


def keep(cache: Path, what: str, made_from: str, fill: Callable[[Path], None]) -> Path:
    """A directory that is filled once for what it is made from: under another name, since whole or absent is the
    promise, and under a lock, since tests run side by side."""
    home = cache / f"{what}-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}"
    with (cache / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.is_dir():
            partial = cache / f"partial-{what}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            fill(partial)
            partial.rename(home)
    return home


@pytest.fixture(scope="session")
def locked_wheels(cache: Path) -> Path:
    """Every locked wheel for the tree's Python, so that nothing in the tree or the image needs a package index."""

    def fill(home: Path) -> None:
        pip = [sys.executable, "-m", "pip", "download", "-qq", "--only-binary=:all:", "--python-version", PYTHON]
        for lock in LOCKS:
            run_checked(*pip, "--require-hashes", "-d", home, "-r", lock)

    return keep(cache, "wheels", PYTHON + "".join(lock.read_text() for lock in LOCKS), fill)


@pytest.fixture(scope="session")
def debian(as_root: None, cache: Path, real: Callable[..., None], locked_wheels: Path) -> Path:
    """A small Debian with systemd, and the locked dependencies in /opt/ingestd. No test writes to it."""
    real("debootstrap", "chroot")

    def fill(tree: Path) -> None:
        run_checked("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, tree)
        shutil.rmtree(tree / "var/cache/apt/archives")
        shutil.copytree(locked_wheels, tree / "wheels")
        shutil.copy(LOCKS[0], tree / "wheels")
        run_checked("chroot", tree, "python3", "-m", "venv", "/opt/ingestd")
        pip = ["/opt/ingestd/bin/pip", "install", "-qq", "--no-index", "--find-links=/wheels"]
        run_checked("chroot", tree, *pip, "--require-hashes", "-r", "/wheels/requirements.txt")
        shutil.rmtree(tree / "wheels")

    return keep(cache, "debian", SUITE + PACKAGES + LOCKS[0].read_text(), fill)
