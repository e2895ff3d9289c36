"""The image, built for real by buildah on a small Debian instead of the named base, which needs a registry."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]

BASE, IMAGE = "localhost/ingestd-test-base", "localhost/ingestd-test"


class Buildah:
    """buildah with a store of its own, without a daemon, a registry or user namespaces."""

    def __init__(self, store: Path) -> None:
        self.store = store

    def __call__(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        where = ["--storage-driver=vfs", f"--root={self.store}", f"--runroot={self.store}-run"]
        done = subprocess.run(["buildah", *where, *words], text=True, capture_output=True, check=False)
        assert done.returncode == 0 or not check, f"buildah {words}\n{done.stdout}{done.stderr}"
        return done


@pytest.fixture(scope="module")
def buildah(debian: Path, real: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """A store that holds nothing but the base image."""
    real("buildah", "tar")
    work = tmp_path_factory.mktemp("image")
    tool = Buildah(work / "store")
    # The service manager and the daemon's own environment stay out: a base is a Debian with Python.
    subprocess.run(["tar", "-C", debian, "--exclude=./opt", "-cf", work / "base.tar", "."], check=True)
    base = tool("from", "scratch").stdout.strip()
    tool("add", base, work / "base.tar", "/")
    tool("commit", "--rm", "--quiet", base, BASE)
    (work / "base.tar").unlink()
    yield tool
    tool("rm", "--all")
    tool("rmi", "--all", "--force")
    shutil.rmtree(work)


@pytest.fixture(scope="module")
def image(buildah: Buildah, repository: Path, locked_wheels: Path) -> Buildah:
    """The Dockerfile as it stands; only where the base and the wheels come from is given."""
    build = ["bud", "--isolation=chroot", "--quiet", "--format=docker", "--pull-never"]
    given = [f"BASE={BASE}", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels"]
    given = [f"--build-arg={argument}" for argument in given]
    built = buildah(*build, *given, f"--volume={locked_wheels}:/wheels:ro", "--tag", IMAGE, repository)
    assert "level=warning" not in built.stderr, built.stderr
    return buildah


@pytest.fixture(scope="module")
def container(image: Buildah) -> str:
    return image("from", "--pull-never", IMAGE).stdout.strip()


@pytest.fixture(scope="module")
def root(image: Buildah, container: str) -> Path:
    """The container's root directory as seen from here."""
    return Path(image("mount", container).stdout.strip())


def test_demo_runs_in_it(image: Buildah, container: str) -> None:
    """The whole way of a file, as the image's user, with nothing set up."""
    run = ["run", "--isolation=chroot", container]
    told = image(*run, "/opt/ingestd/bin/ingestd", "demo")
    assert "stored" in told.stdout, told.stdout + told.stderr
    whoami = image(*run, "/opt/ingestd/bin/python", "-c", "import os; print(os.getuid(), os.getgid())")
    assert whoami.stdout.split() == ["65532", "65532"]


def test_demo_runs_on_a_read_only_root(root: Path, real: Callable[..., None]) -> None:
    """readOnlyRootFilesystem with an empty /tmp is enough, and no /proc or shell is asked for."""
    real("unshare", "chroot")
    script = """
        mount --bind "$1" "$1"; cd "$1"; mount -o remount,bind,ro .; mount -t tmpfs tmpfs tmp
        if touch opt/ingestd/x 2>/dev/null; then echo "not read-only"; exit 1; fi
        exec chroot --userspec=65532:65532 . /opt/ingestd/bin/ingestd demo"""
    enter = ["unshare", "--mount", "sh", "-ec", script, "sh", str(root)]
    told = subprocess.run(enter, text=True, capture_output=True, check=False, env={})
    assert (told.returncode, "stored" in told.stdout) == (0, True), told.stdout + told.stderr


def test_says_how_it_runs(image: Buildah) -> None:
    """Numeric user, no shell in between, no volume that would hide a lost file."""
    config = json.loads(image("inspect", "--type=image", IMAGE).stdout)["Docker"]["config"]
    assert config["User"] == "65532:65532"
    assert (config["Entrypoint"], config["Cmd"]) == (["/opt/ingestd/bin/ingestd"], ["run"])
    assert not config.get("Volumes")
    assert config["Healthcheck"]["Test"][0] == "CMD"


def test_holds_the_package_and_no_tools(root: Path) -> None:
    """Neither pip nor hatchling nor a test goes along, and no build directory."""
    installed = {path.name for path in (root / "opt/ingestd/lib").glob("python3*/site-packages/*")}
    assert "ingestd" in installed
    assert installed.isdisjoint({"pip", "hatchling", "pytest", "tests"})
    assert not (root / "src").exists()
    assert not (root / "opt/build").exists()
