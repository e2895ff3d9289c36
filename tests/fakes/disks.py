"""Fresh file systems of several kinds, mounted for a test. Needs root."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

KINDS = ("ext4", "xfs", "btrfs", "tmpfs", "ext2", "overlay")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
WITH_CAP_LEASE = (
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=+lease",
    "--ambient-caps=+lease",
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=120)


@contextmanager
def disk(kind: str) -> Iterator[Path]:
    """A visible skip where this kernel or container can't mount, which no package can mend.

    Not below pytest's own temporary folder: each run of pytest that begins shuts that to other users.
    """
    with TemporaryDirectory(prefix=f"{kind}-") as base, _mounted(kind, Path(base)) as folder:
        yield folder


@contextmanager
def _mounted(kind: str, base: Path) -> Iterator[Path]:
    folder = base / "disk"
    folder.mkdir()
    if kind == "tmpfs":
        words = ["-t", "tmpfs", "tmpfs"]
    elif kind == "overlay":
        for name in ("lower", "upper", "work"):
            (base / name).mkdir()
        words = ["-t", "overlay", "overlay", "-o", f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"]
    else:
        with open(base / "image", "wb") as image:
            image.truncate(400 << 20)
        made = run(f"mkfs.{kind}", "-q", base / "image")
        assert made.returncode == 0, made.stderr
        words = ["-o", "loop", str(base / "image")]
    done = run("mount", *words, folder)
    if done.returncode:
        pytest.skip(f"can't mount here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        run("umount", folder)


@contextmanager
def entered(folder: Path) -> Iterator[None]:
    """Another user may go down to `folder`; a visible skip where this interpreter is out of its reach."""
    modes = {above: above.stat().st_mode for above in (folder, *folder.parents)}
    for above, mode in modes.items():
        above.chmod(mode | 0o711)
    try:
        if run(*NOBODY, sys.executable, "-c", "import ingestd").returncode:
            pytest.skip("another user can't run this interpreter")
        yield
    finally:
        for above, mode in modes.items():
            above.chmod(mode)
