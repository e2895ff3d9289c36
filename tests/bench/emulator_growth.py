"""Does the embedded service slow down as it fills? One more instance stored, one study searched for and more, at 1,000 instances
held and at 100,000; the time of each is the median of many, over one connection. Filling goes through the service, too, and takes
minutes. Prints; never judges: the promise is less than twice the time for the store of one more and the search by study.

    python tests/bench/emulator_growth.py [instances] [folder for the data]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx

from ingestd.emulator.samples import ct_instance
from ingestd.emulator.server import running

ROOT = "1.2.826.0.1.3680043.10.1465.8"
A_STUDY, A_BATCH, SAMPLES, FIRST = 100, 100, 200, 1000
PARTS = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=edge'}


def instance(number: int) -> bytes:
    study = f"{ROOT}.{number // A_STUDY}"
    return ct_instance(
        study_uid=study,
        series_uid=f"{study}.{number // 25}",
        sop_instance_uid=f"{study}.{number // 25}.{number}",
        size_bytes=1500,
        patient_id=f"P{number // A_STUDY}",
        patient_name=f"Name{number // A_STUDY}^Given",
        study_date=f"20{number // A_STUDY % 90 + 10}0922",
    )


def fill(client: httpx.Client, start: int, end: int) -> None:
    for at in range(start, end, A_BATCH):
        contents = (instance(number) for number in range(at, min(at + A_BATCH, end)))
        parts = b"".join(b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n" for one in contents)
        client.post("studies", content=parts + b"--edge--", headers=PARTS).raise_for_status()


def median_ms(ask: Callable[[int], httpx.Response], wanted: int = 200) -> float:
    times = []
    for number in range(SAMPLES):
        began = time.perf_counter()
        answer = ask(number)
        times.append(time.perf_counter() - began)
        assert answer.status_code == wanted, answer.status_code
    return statistics.median(times) * 1000


def measures(client: httpx.Client, held: int) -> dict[str, float]:
    """Milliseconds. What is stored is taken away again."""

    def spread(sample: int) -> int:
        return sample * 7919 % held // A_STUDY

    def store(sample: int) -> httpx.Response:
        content, kind = instance(held + sample), {"Content-Type": "application/dicom"}
        return client.post("studies", content=content, headers=kind)

    def delete(sample: int) -> httpx.Response:
        number = held + sample
        study = f"{ROOT}.{number // A_STUDY}"
        return client.delete(f"studies/{study}/series/{study}.{number // 25}/instances/{study}.{number // 25}.{number}")

    def search(path: str) -> Callable[[int], httpx.Response]:
        return lambda sample: client.get(path.format(spread(sample)))

    study = f"{ROOT}.{{0}}"
    return {
        "store one more": median_ms(store),
        "delete one": median_ms(delete, 204),
        "search a study by its UID": median_ms(search(f"studies?StudyInstanceUID={study}")),
        "search studies by PatientID": median_ms(search("studies?PatientID=P{0}")),
        "search studies by PatientName, fuzzy": median_ms(search("studies?PatientName=Name{0}&fuzzymatching=true")),
        "search a study's series": median_ms(search(f"studies/{study}/series")),
        "search a study's instances": median_ms(search(f"studies/{study}/instances?limit=100")),
        "newest studies, no filter": median_ms(search("studies?limit=10")),
        "newest instances, no filter": median_ms(search("instances?limit=10")),
        "metadata of a study of 100": median_ms(search(f"studies/{study}/metadata")),
        "change feed, latest": median_ms(search("changefeed/latest?includeMetadata=false")),
    }


def main() -> None:
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with ExitStack() as stack:
        folder = sys.argv[2] if len(sys.argv) > 2 else stack.enter_context(tempfile.TemporaryDirectory())
        emulator = stack.enter_context(running(data=Path(folder)))
        accept = {"Accept": "application/dicom+json"}
        client = stack.enter_context(httpx.Client(base_url=emulator.url, headers=accept, timeout=60, trust_env=False))
        fill(client, 0, FIRST)
        few = measures(client, FIRST)
        began = time.perf_counter()
        fill(client, FIRST, many)
        print(f"{(many - FIRST) / (time.perf_counter() - began):.0f} instances stored a second, {A_BATCH} a request")
        full = measures(client, many)
        print(f"{'milliseconds, median of ' + str(SAMPLES):40} {FIRST:>8} {many:>8}  ratio")
        for name, before in few.items():
            print(f"{name:40} {before:8.2f} {full[name]:8.2f} {full[name] / before:6.2f}")


if __name__ == "__main__":
    main()
