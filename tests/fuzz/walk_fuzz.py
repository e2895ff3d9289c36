"""Coverage-guided fuzzing of the walk (F32, F33, F46): no error, no second passed, no 64 MiB taken, no false *whole*.

    python tests/fuzz/walk_fuzz.py FOLDER -max_total_time=3600

needs `pip install atheris`, which is no dependency of the project. FOLDER keeps the corpus; what fails is written to FOLDER.failed,
a file for each place that fails, and the run goes on. What fails and is small belongs into tests/fuzz/corpus, which
tests/component/part10/test_part10_fuzz.py walks in every run.

Inputs are mutated as files (`Part10Mutator`): the elements of a data set are moved, doubled, nested, given other lengths and VRs,
and what is deflated is inflated, mutated and deflated again. Bytes alone would die in the preamble.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import time
import traceback
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

with atheris.instrument_imports(include=["ingestd.spool"]):
    from ingestd.part10 import walk  # noqa: F401 - instrumented here, before it is imported below

from fakes.part10_files import MADE  # noqa: E402 - behind the instrumentation
from fakes.part10_mutator import Part10Mutator  # noqa: E402 - behind the instrumentation
from fakes.part10_verdicts import judge, wrong  # noqa: E402 - behind the instrumentation

SECONDS = 1.0
KIBIBYTES = 64 << 10


class Failures:
    """One file for each place and kind of failure."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: set[str] = set()

    def keep(self, data: bytes, kind: str, text: str) -> None:
        key = hashlib.sha256((kind + text).encode()).hexdigest()[:12]
        if key in self.seen:
            return
        self.seen.add(key)
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"{kind}-{key}.dcm").write_bytes(data)
        (self.folder / f"{kind}-{key}.txt").write_text(text)
        print(f"FAILED {kind} {key}", file=sys.stderr, flush=True)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def main() -> None:
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    failures = Failures(corpus.with_name(corpus.name + ".failed"))
    for made in MADE:
        name = hashlib.sha256(made.name.encode()).hexdigest()[:16]
        (corpus / name).write_bytes(made.content)
    mutator = Part10Mutator()
    count = 0

    def test_one_input(data: bytes) -> None:
        nonlocal count
        count += 1
        forget_peak()
        before, start = peak(), time.process_time()
        try:
            found = judge(data)
        except Exception:  # noqa: BLE001 - whatever it is, it is what we are looking for
            *_, place, _ = traceback.format_exc().splitlines()[:-1]
            failures.keep(data, "crash", place)
            return
        if (seconds := time.process_time() - start) > SECONDS:
            failures.keep(data, "slow", f"{found.wholeness.value} {found.text}")
            print(f"{seconds:.1f} s", file=sys.stderr)
        if peak() - before > KIBIBYTES:
            failures.keep(data, "large", f"{found.wholeness.value} {found.text}")
        if text := wrong(data, found, often=count % 16 == 0):
            failures.keep(data, "wrong", text)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        changed = mutator.mutate(data, seed)
        if changed is None or len(changed) > max_size:
            return bytes(atheris.Mutate(data, max(len(data), max_size)))
        return changed

    atheris.Setup([sys.argv[0], str(corpus), *sys.argv[2:]], test_one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
