"""Search and store in the embedded service as it fills: medians over HTTP at 1,000 and at 100,000 instances.

    python tests/bench/emulator_search.py [--instances 100000] [--each 100]

`--each` is the number of instances a study. Says for each operation by how much it grew; the promise is less than twice for the
search by study and for the store of one more. Filling goes through the service too, and takes minutes.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from ingestd.emulator.samples import ct_instance
from ingestd.emulator.server import running

ROOT = "1.2.826.0.1.3680043.10.1465"
FIRST = 1000
BATCH = 100
ROUNDS = 200
HEADERS = {"Accept": "application/dicom+json"}
MULTIPART = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=edge'}


def instance(number: int, each: int) -> bytes:
    """Instance `number`, of study number // each, with a patient of its own for each study."""
    study = number // each
    return ct_instance(
        study_uid=f"{ROOT}.{study}",
        series_uid=f"{ROOT}.{study}.1",
        sop_instance_uid=f"{ROOT}.{study}.1.{number}",
        size_bytes=1500,
        patient_id=f"ID{study}",
        patient_name=f"Doe{study}^John",
    )


def store(client: httpx.Client, parts: list[bytes]) -> None:
    framed = (b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts)
    client.post("studies", content=b"".join(framed) + b"--edge--\r\n", headers=MULTIPART).raise_for_status()


def median_ms(operation: Callable[[int], object]) -> float:
    taken = []
    for round_number in range(ROUNDS):
        before = time.perf_counter()
        operation(round_number)
        taken.append(time.perf_counter() - before)
    return statistics.median(taken) * 1000


def measure(client: httpx.Client, held: int, each: int) -> dict[str, float]:
    studies = max(held // each, 1)

    def get(path: str, *, status: int = 200) -> Callable[[int], None]:
        def operation(number: int) -> None:
            answer = client.get(path.format(study=number * 37 % studies, instance=number * 37 % held))
            assert answer.status_code == status, answer.text

        return operation

    operations: dict[str, Callable[[int], object]] = {
        "store of one more": lambda number: store(client, [instance(10_000_000 + held * 10 + number, each)]),
        "studies?StudyInstanceUID=": get(f"studies?StudyInstanceUID={ROOT}.{{study}}"),
        "studies/{}/series": get(f"studies/{ROOT}.{{study}}/series"),
        "studies/{}/instances?limit=10": get(f"studies/{ROOT}.{{study}}/instances?limit=10"),
        "studies?PatientID=": get("studies?PatientID=ID{study}"),
        "instances?limit=10": get("instances?limit=10"),
        "studies?PatientName= (fuzzy)": get("studies?fuzzymatching=true&limit=10&PatientName=doe{study}%20john"),
    }
    return {name: median_ms(operation) for name, operation in operations.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--each", type=int, default=100)
    given = parser.parse_args()
    figures = []
    with (
        tempfile.TemporaryDirectory() as data,
        running(data=Path(data)) as emulator,
        httpx.Client(base_url=emulator.url, headers=HEADERS, timeout=60) as client,
    ):
        for start in range(0, given.instances, BATCH):
            store(client, [instance(number, given.each) for number in range(start, start + BATCH)])
            if start + BATCH in {FIRST, given.instances}:
                figures.append(measure(client, start + BATCH, given.each))
    first, last = figures
    for name, before in first.items():
        sys.stdout.write(f"{name:32} {before:8.2f} ms {last[name]:8.2f} ms   x {last[name] / before:.2f}\n")


if __name__ == "__main__":
    main()
