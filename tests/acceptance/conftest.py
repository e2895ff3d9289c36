"""The daemon against real peers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fakes.house import House
from fakes.ports import free_port
from fakes.room import Room

from ingestd.emulator.server import running

MakeHouse = Callable[..., House]


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons start as a person starts them, with their imports."""
    monkeypatch.setattr(House, "warm", False)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[MakeHouse]:
    """`house(url, KEY="value")`: a daemon's folders; whatever still runs at the end is killed."""
    made: list[House] = []

    def make(url: str, **environment: str) -> House:
        made.append(House(tmp_path / f"house{len(made)}", url, **environment))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    """The embedded service's URL."""
    with running(data=tmp_path / "service") as up:
        yield up.url


@pytest.fixture
def room(real: Callable[..., None]) -> Iterator[Room]:
    real("unshare", "nsenter", "mount", "umount", "mkfs.ext4")
    if os.geteuid():
        pytest.skip("needs root: it mounts file systems")
    with Room() as made_room:
        yield made_room


PLUGINS = (Path("/usr/share/orthanc/plugins"), Path("/usr/lib/orthanc"), Path("/usr/local/share/orthanc/plugins"))


@pytest.fixture
def orthanc(tmp_path: Path, real: Callable[..., None]) -> Iterator[str]:
    """A real Orthanc with its DICOMweb plugin; the base URL of its own REST API. DICOMweb stands below /dicom-web."""
    real("Orthanc")
    plugin = next((f for d in PLUGINS if d.is_dir() for f in d.rglob("libOrthancDicomWeb.so*")), None)
    if plugin is None:
        real("orthanc-dicomweb")
    http, dicom = free_port(), free_port()
    configuration = {
        "Name": "ingestd test",
        "StorageDirectory": str(tmp_path / "orthanc"),
        "IndexDirectory": str(tmp_path / "orthanc"),
        "HttpPort": http,
        "DicomPort": dicom,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(plugin)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps(configuration))
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin") or "Orthanc"
    with open(tmp_path / "orthanc.log", "wb") as log:
        process = subprocess.Popen([program, str(file)], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{http}"
    try:
        _wait_for(f"{url}/system", process, tmp_path / "orthanc.log")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            httpx.get(url, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"Orthanc did not answer: {log.read_text()[-2000:]}")
