"""The soak: a writer, a misbehaving service, and a daemon that is killed again and again; then everything is counted.

    python tests/crash/soak.py [--minutes 30] [--calm 10] [--seed 1] [--plot docs/soak.png]

For `minutes` a writer drops 20 files a second while the daemon meets SIGKILL every 1 to 30 seconds; for `calm` minutes more
it is left alive, so that growth would show. The service is the embedded one behind `fakes.bad_weather`; others delete and change
what it holds. At the end all faults end, the inbox empties, and every file is looked for by its digest: in exactly one folder, and
if in done/, in the service, with the same data set. Where others changed it that holds for what was dropped afterwards.
Prints the figures as JSON; exits 1 when something is lost.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import httpx
from fakes.bad_weather import BadWeather, bad_weather
from fakes.house import House, digest
from fakes.studies import Made, data_set, made

RATE = 20  # files a second
TIMEOUT_SECONDS = "10"  # after which half a file is judged
BAD = {"truncated", "not_dicom"}


@dataclass(kw_only=True)
class Sample:
    """The daemon at one moment; `age` seconds after it was started."""

    at: float
    age: float
    rss: int
    files: int
    threads: int
    inbox: int


@dataclass(kw_only=True)
class Report:
    seconds: float = 0.0
    kills: int = 0
    dropped: int = 0
    done: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    meddled: Counter[str] = field(default_factory=Counter)
    log: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    growth: dict[str, list[float]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)


class Writer(threading.Thread):
    """Drops files as modalities do: renamed in, or written in place and slowly; some twice, some half, some nonsense."""

    def __init__(self, house: House, seed: int) -> None:
        super().__init__(daemon=True)
        self._house = house
        self._random = random.Random(seed)
        self.ended = threading.Event()
        self.dropped: Counter[str] = Counter()  # digest -> how often
        self.ids: dict[str, tuple[str, str, str]] = {}
        self.dropped_at: dict[str, float] = {}  # by name; when it was begun
        self.number = 0
        self.meddled: list[int] = []  # numbers of instances that others have deleted or changed: worth dropping again

    def run(self) -> None:
        due = time.monotonic()
        while not self.ended.is_set():
            self._drop(self.number + 1)
            self.number += 1
            due += 1 / RATE
            time.sleep(max(due - time.monotonic(), 0))

    def _drop(self, number: int) -> None:
        kind = self._random.random()
        again = kind < 0.05 and number > 50
        of = self._random.randrange(1, number) if again else number
        if again and self.meddled and kind < 0.03:
            of = self._random.choice(self.meddled)
        one = numbered(of)
        content = one.content
        name = f"{number // 1000}/{number}.dcm"
        if 0.05 <= kind < 0.06:
            content = content[: len(content) // 2]
        elif 0.06 <= kind < 0.065:
            content = b"no DICOM at all %d" % number
        else:
            self.ids[digest(content)] = one.ids
        self.dropped[digest(content)] += 1
        self.dropped_at[name] = time.monotonic()
        if kind < 0.8:
            self._house.drop(name, content)
        else:
            self._in_place(self._house.inbox / name, content)

    def _in_place(self, target: Path, content: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb", buffering=0) as file:
            for at in range(0, len(content), 16_384):
                file.write(content[at : at + 16_384])
                time.sleep(0.002)


class Others(threading.Thread):
    """Whoever else uses the service: once a second one instance is deleted, or another patient's image takes its place."""

    def __init__(self, writer: Writer, url: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._writer = writer
        self._url = url
        self._random = random.Random(seed)
        self.ended = threading.Event()
        self.changed_at: dict[tuple[str, str, str], float] = {}  # by instance; when the last change was through
        self.met: Counter[str] = Counter()

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not self.ended.wait(1.0):
                self._meddle(client, self._random.randrange(1, max(self._writer.number, 1) + 1))

    def _meddle(self, client: httpx.Client, number: int) -> None:
        study, series, instance = ids = numbered(number).ids
        if client.delete(f"{self._url}/studies/{study}/series/{series}/instances/{instance}").status_code != 204:
            return  # it is not there yet
        self.met["forgot"] += 1
        if self._random.random() < 0.5:
            other = numbered(number, patient_id="another").content
            headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
            stored = client.post(f"{self._url}/studies", content=other, headers=headers)
            self.met["changed"] += stored.status_code == 200
        self.changed_at[ids] = time.monotonic()
        self._writer.meddled.append(number)


def numbered(number: int, *, patient_id: str = "ID1") -> Made:
    """The writer's instance of that number."""
    return made(number, study=number // 100, size=2000 + number * 7919 % 60_000, patient_id=patient_id)


def sample(pid: int, began: float, started: float, house: House) -> Sample | None:
    """What /proc says; None when the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        files = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    rows = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if "VmRSS" not in rows:
        return None
    now = time.monotonic()
    return Sample(
        at=now - began,
        age=now - started,
        rss=int(rows["VmRSS"].split()[0]) * 1024,
        files=files,
        threads=int(rows["Threads"]),
        inbox=sum(len(names) for _, _, names in os.walk(house.inbox)),
    )


def live(house: House, report: Report, began: float, seconds: float, kills: random.Random | None) -> None:
    """The daemon for so long, killed now and then; sampled once a second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        process = house.process if house.running else house.start()
        started = time.monotonic()
        dies_at = min(end, started + kills.uniform(1, 30)) if kills else end
        while (now := time.monotonic()) < dies_at:
            if process.poll() is not None:
                report.wrong.append(f"the daemon ended by itself with {process.returncode}")
                break
            if found := sample(process.pid, began, started, house):
                report.samples.append(found)
            time.sleep(min(1.0, max(dies_at - now, 0.01)))
        if kills:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            report.kills += 1


def settle_down(house: House, weather: BadWeather, report: Report) -> None:
    """Faults end, and the inbox empties."""
    weather.clear()
    if not house.running:
        house.start()
    deadline = time.monotonic() + 300
    while house.files(house.inbox) and time.monotonic() < deadline:
        time.sleep(0.5)
    left = house.files(house.inbox)
    if left:
        report.wrong.append(f"{len(left)} files are left in the inbox, such as {left[0].name}")
    if (code := house.stop()) != 0:
        report.wrong.append(f"the daemon stopped with {code}")


def count(house: House, writer: Writer, others: Others, url: str, report: Report) -> None:
    """I1, I2, I3, file by file."""
    there = Counter(house.digests(house.inbox) + house.digests(house.done) + house.digests(house.failed))
    if lost := writer.dropped - there:
        report.wrong.append(f"{lost.total()} files are lost")
    if more := there - writer.dropped:
        report.wrong.append(f"{more.total()} files are there that nobody wrote, or twice")
    report.dropped, report.done = writer.dropped.total(), len(house.files(house.done))
    for path, reason in house.reasons().items():
        report.failed[reason["reason"]] += 1
        key = (reason["study_uid"], reason["series_uid"], reason["sop_instance_uid"])
        conflict = reason["reason"] == "conflict" and key in others.changed_at
        if reason["reason"] not in BAD and not conflict:
            report.wrong.append(f"{path} is in failed/: {reason['reason']}, {reason['text']}")
    with httpx.Client(trust_env=False, headers={"Accept": "application/dicom; transfer-syntax=*"}) as client:
        for file in house.files(house.done):
            content = file.read_bytes()
            study, series, instance = key = writer.ids[digest(content)]
            got = client.get(f"{url}/studies/{study}/series/{series}/instances/{instance}")
            if got.status_code == 200 and data_set(got.content) == data_set(content):
                continue
            _, _, name = str(file.relative_to(house.done)).partition("/")  # below the day
            if others.changed_at.get(key, -math.inf) < writer.dropped_at[name]:
                report.wrong.append(f"the service does not hold {instance} as it was: {got.status_code}")
    report.log = Counter(line["event"] for line in house.lines())


def growth(samples: list[Sample], calm_from: float) -> dict[str, list[float]]:
    """Of the calm part: the mean over its second and over its last quarter. Empty where it was too short to tell."""
    calm = [s for s in samples if s.at >= calm_from]
    quarter = len(calm) // 4
    if quarter < 10:
        return {}
    parts = (calm[quarter : 2 * quarter], calm[-quarter:])
    return {
        what: [round(sum(getattr(s, what) for s in part) / len(part), 1) for part in parts]
        for what in ("rss", "files", "threads")
    }


def plot(report: Report, target: Path) -> None:
    import matplotlib  # noqa: PLC0415 - heavy, and only for the picture

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415 - after the choice of backend

    figure, axes = pyplot.subplots(4, 1, sharex=True, figsize=(10, 8))
    rows = (
        ("resident memory, MiB", [s.rss / (1 << 20) for s in report.samples]),
        ("open files", [s.files for s in report.samples]),
        ("threads", [s.threads for s in report.samples]),
        ("files in the inbox", [s.inbox for s in report.samples]),
    )
    minutes = [s.at / 60 for s in report.samples]
    for axis, (label, values) in zip(axes, rows, strict=True):
        axis.plot(minutes, values, linewidth=0.6)
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.grid(visible=True, alpha=0.3)
    axes[-1].set_xlabel("minutes")
    faults = report.faults.total()
    axes[0].set_title(f"{report.dropped} files, {report.kills} kills, {faults} faults, {len(report.wrong)} wrong")
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def soak(root: Path, *, seconds: float, calm: float, seed: int) -> Report:
    """The whole of it, in a folder of its own."""
    report = Report()
    began = time.monotonic()
    command = [sys.executable, "-m", "ingestd", "emulator", "--port", "0", "--data", str(root / "service")]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    try:
        url = service.stdout.readline().split()[-1]
        with bad_weather(url, seed=seed) as (outside, weather):
            house = House(root, outside, INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS=TIMEOUT_SECONDS)
            writer = Writer(house, seed)
            others = Others(writer, url, seed)
            writer.start()
            others.start()
            try:
                live(house, report, began, seconds, random.Random(seed))
                live(house, report, began, calm, None)
                writer.ended.set()
                others.ended.set()
                writer.join()
                others.join()
                settle_down(house, weather, report)
            finally:
                house.close()
        report.faults, report.meddled = weather.met, others.met
        count(house, writer, others, url, report)
    finally:
        service.terminate()
        service.wait(20)
        service.stdout.close()
    report.seconds = round(time.monotonic() - began, 1)
    report.growth = growth(report.samples, seconds)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--calm", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        report = soak(Path(folder), seconds=60 * arguments.minutes, calm=60 * arguments.calm, seed=arguments.seed)
    if arguments.plot:
        plot(report, arguments.plot)
    shown = vars(report) | {"samples": len(report.samples)}
    print(json.dumps(shown, indent=2))
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
