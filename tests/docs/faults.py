"""docs/faults.md out of the table below and the docstrings of the tests: `python tests/docs/faults.py > docs/faults.md`.

A test says in its docstring which faults it is about ("F37", "F47 to F63"). For each fault the page names those that show it from
furthest outside.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
NAMED = 2  # tests for each fault
FROM_OUTSIDE = ("acceptance", "packaging", "crash", "component", "contract", "bench", "docs", "unit")

FAULTS: dict[str, tuple[tuple[int, str, str], ...]] = {
    "Finding files": (
        (
            1,
            "100,000 files in one burst, the queue of events overflows",
            "a scan finds all of them; the overflow is counted",
        ),
        (2, "the limit of watches or of open files is reached", "goes over to scanning alone, says so, misses nothing"),
        (3, "files that were there before the start, or came while it was down", "the first scan finds them"),
        (4, "a file that is renamed in, hard-linked in, or linked in without a name before", "taken like any other"),
        (5, "a tree of folders that is made, or moved in, and filled at once", "all of its files are found"),
        (6, "the inbox is deleted and made again", "goes on without a restart; `/readyz` is red meanwhile"),
        (
            7,
            "the inbox is unmounted, mounted again, mounted over",
            "concludes nothing from what is not there; watches the new one",
        ),
        (
            8,
            "a file system that tells no events: NFS, CIFS, FUSE, another node's writes",
            "polled; the longer quiet period holds",
        ),
        (9, "ESTALE, EIO, EBUSY, a stat that hangs", "tried again; the scan's age shows it; sending goes on"),
        (10, "an exception in any thread", "said without its words, counted; the thread is started again"),
        (11, "a million files, ten thousand folders", "bounded memory; the first is sent before the scan ends"),
        (12, "our own moves and reads make events", "no loop"),
        (13, "the clock jumps; files of the future or of 1970", "ages are counted from the first look"),
    ),
    "Whole files only": (
        (14, "a writer of one byte a second", "not taken before it is whole and still"),
        (
            15,
            "a writer that pauses for longer than the quiet period",
            "the walk holds the file back; what changes is sent anew",
        ),
        (16, "room that is claimed ahead, sparse files, a tail of zeros", "not taken for whole before the content is"),
        (17, "a file cut at any place", "never sent as good; in failed/ after `intake.incomplete_timeout_seconds`"),
        (18, "open, append, close, and again", "one last version is sent"),
        (19, "replaced under the same name before, during and after the send", "the new version is never moved unsent"),
        (20, "copied with its old times", "the quiet period holds all the same"),
        (21, "names of temporary, partial and lock files", "passed over and counted"),
        (22, "an empty file", "waits, then is in failed/; never deleted"),
        (23, "attributes out of a stale cache", "only an opened file is judged"),
        (24, "a file that vanishes at any step", "passed over in silence"),
    ),
    "A hostile folder": (
        (25, "symbolic links to files and folders, in loops, to nowhere", "never followed; counted and said"),
        (26, "a hard link to a file of somebody else", "refused: in failed/ unless the file's owner owns the folder"),
        (
            27,
            "FIFO, socket, device, a folder named `x.dcm`",
            "never opened, never waited for; counted; the folder is a folder",
        ),
        (
            28,
            "files and folders swapped between look and open",
            "only what was judged is sent and moved; nothing leaves the inbox",
        ),
        (
            29,
            "names of any bytes: line ends, ESC, no UTF-8, 255 bytes",
            "sent and filed under them; one log line; not in the request",
        ),
        (
            30,
            "names that are taken in done/ and failed/, in another letter case too",
            "a suffix; nothing is overwritten",
        ),
        (
            31,
            "files that can't be read, moved or removed",
            "sent once at most, tried again ever more rarely, said with what to do",
        ),
        (
            32,
            "deflate bomb, lengths of 4 GiB, 100,000 levels, two million elements",
            "bounded time and memory; in failed/",
        ),
        (
            33,
            "no DICOM, UIDs missing or wrong, DICOMDIR, a file meta or preamble that lies",
            "in failed/ with the reason; what only lies is sent as it is, and noted",
        ),
        (34, "a file of 5 GiB", "streamed in constant memory"),
        (35, "the boundary stands inside a file", "a fresh random boundary each time; the part stays one"),
        (36, "the same SOP Instance UID with other bytes", "both are kept, the second as a conflict"),
    ),
    "Crash and disk": (
        (37, "SIGKILL at any system call that changes something", "nothing is lost; sent again at worst"),
        (38, "power fails, what was not synced is gone", "the same"),
        (39, "done/, failed/, state or log have no room", "the source stays, the move is tried again, recovers alone"),
        (40, "an I/O error at fsync or close", "never taken for durable"),
        (41, "done/ or failed/ on another file system", "copied, verified, synced, renamed; only then the source goes"),
        (
            42,
            "a journal that is damaged, empty, gone, old or of a newer version",
            "set aside and begun anew, sent again at worst; an old one is brought up to date",
        ),
        (
            43,
            "a second daemon; a lock that a killed one has left",
            "refused with exit 75; a dead one's lock is no lock",
        ),
        (44, "state on a network file system", "refused at the start"),
        (45, "remounted read-only", "pauses, says so, recovers"),
        (46, "no memory, no thread, no file handle, a recursion too deep", "contained; waits and goes on"),
    ),
    "HTTP": (
        (47, "refused, DNS, TLS: expired, wrong host, wrong CA", "held for ever with an alarm; never in failed/"),
        (
            48,
            "an early 413, 401, 403 or 503, then closed, reset or silent",
            "the status counts if it can be read, else unknown",
        ),
        (49, "reset in mid-body, closed after it, no answer", "unknown: sent again, which is idempotent by UID"),
        (50, "200 with an empty, foreign, cut or mislabelled body, or that does not name the instance", "not done"),
        (51, "202 and 409 with part of them, warnings", "each instance by its own verdict"),
        (52, "429 and 503 with Retry-After in every form", "honoured up to the cap"),
        (53, "301, 302, 303, 307, 308", "not followed; the URL is wrong, says so; the token goes nowhere"),
        (54, "an idle connection that the server has closed", "sent again; no attempt counted"),
        (55, "an answer that drips, never ends, is huge or a bomb", "a deadline and a cap"),
        (56, "an upload at 1 kB/s, a window of zero", "a deadline that grows with the size"),
        (57, "any second attempt", "the whole body again"),
        (58, "a file that is cut or grows while it is sent", "not done; judged anew"),
        (59, "proxies, CA files and .netrc in the environment", "not used unless configured"),
        (60, "the request is too large; one file is", "split; in failed/ with the reason"),
        (61, "one instance makes the service refuse its batch", "found by halves; the others are stored"),
        (62, "404 or 400 on the endpoint itself", "held, said what is wrong; the files stay"),
    ),
    "Identity": (
        (63, "a token expired or revoked, 401 in the middle", "one fresh one, then held"),
        (
            64,
            "the token endpoint hangs; tokens and certificates are rotated",
            "SIGTERM is prompt; new ones are picked up",
        ),
        (65, "a secret in a log, metric, traceback, command line", "in none"),
    ),
    "Operations": (
        (66, "SIGTERM at any time, twice, with a second of grace", "ends in time, nothing lost"),
        (
            67,
            "the loop hangs; the service is away for days",
            "the watchdog restarts it; it stays alive and the inbox keeps",
        ),
        (68, "200 idle or slow clients of the metrics", "a scrape takes less than a second"),
        (69, "standard output closed, full or blocked", "delivery goes on; lines lost are counted"),
        (70, "a bad configuration", "exit 78 and one clear line, before a file is touched"),
        (71, "a patient in names and in files", "in no log, metric or status page"),
        (72, "a day of work with kills and faults", "flat memory, handles and threads; nothing lost"),
        (73, "upgrade and downgrade with files under way", "nothing lost"),
        (74, "a pod is deleted with a backlog", "drains until its deadline, says what is left"),
    ),
    "Found by trials with real writers, services and users": (
        (
            75,
            "the size is claimed ahead, and the writer stalls or dies; a scanner reads the file meanwhile",
            "never sent as whole where holes can be seen; *unfilled* after `intake.incomplete_timeout_seconds`",
        ),
        (76, "a writer that opens the file anew for each block, in any order", "not sent while it has a hole"),
        (
            77,
            "leases that can't tell, because the file is another user's",
            "a close or a rename that was seen, else the long rule; said at the start",
        ),
        (
            78,
            "half an image, or other pixels, are at the service under the same UIDs",
            "never already stored: its bytes are compared",
        ),
        (79, "a receipt against what the service shows", "the service's bytes decide"),
        (80, "metadata that name nobody, or another instance", "no answer; counts for nothing"),
        (81, "named by a service that keeps the old one", "not proved by that; nothing is removed on it"),
        (82, "WarningReason B000H, B006H or one that nobody knows", "proves no bytes for a removal"),
        (
            83,
            "bytes behind an answer; Content-Length beside Transfer-Encoding",
            "the connection is never used again; nothing is taken for the next answer",
        ),
        (84, "a 2xx that names nobody, or in a type or coding that can't be read", "asked for, never called refused"),
        (85, "one refused series among good ones", "no brake; conflicts count for it, ten of a study"),
        (86, "a 401 that one large upload draws", "that one waits"),
        (
            87,
            "a question that can't be answered: metadata too large, NaN, 500",
            "asked again without sending, with a line in the log",
        ),
        (88, "the same data set with other file meta information", "the same image"),
        (
            89,
            "a new version that can't be put back; a POST that is refused after its DELETE",
            "kept in mind, said, and tried again",
        ),
        (
            90,
            "100,000 empty deep folders; an answer of 16 MiB of empty items; 200,000 rows of failed/",
            "bounded in bytes",
        ),
        (91, "the clock of another year at boot", "nothing is removed or pruned"),
        (
            92,
            "neither a rename that lands on nothing nor hard links; a ctime that is the mtime",
            "refused at the start; digested again before it is filed",
        ),
        (93, "names without `.dcm`; bins of NAS and Windows", "counted and said; never shipped from a bin"),
        (94, "sub-folders that can't be moved out of", "seen before sending, said with what mends it"),
        (
            95,
            "no header, odd VRs, letters in UIDs, private classes with rows, pixels elsewhere, 20,000 frames",
            "the right verdict, in true words",
        ),
        (96, "a journal of an older schema", "brought up to date, killed at any step"),
    ),
}


class Test(NamedTuple):
    """In the order in which they are named: about this fault first, from outside first."""

    aside: bool
    depth: int
    file: str
    line: int
    name: str


def shown_by() -> dict[int, list[Test]]:
    """The tests that cite each fault in their docstrings."""
    found: dict[int, list[Test]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        file = path.relative_to(TESTS)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for place, number in enumerate(cited(ast.get_docstring(node) or "")):
                    depth = FROM_OUTSIDE.index(file.parts[0])
                    found.setdefault(number, []).append(Test(place > 0, depth, str(file), node.lineno, node.name))
    return {number: sorted(tests) for number, tests in found.items()}


def cited(text: str) -> list[int]:
    """The numbers of faults in a docstring, in order; `F47 to F63` is all of them."""
    ranges = re.findall(r"\bF(\d{1,2})\b(?: to F(\d{1,2})\b)?", text)
    return [number for first, last in ranges for number in range(int(first), int(last or first) + 1)]


def document() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    tests = shown_by()
    yield "# Faults, and what shows that each does no harm"
    yield ""
    yield "<!-- Generated by tests/docs/faults.py from its table and the docstrings of the tests: change it there. -->"
    yield ""
    yield "After each of these, once it has ended, every completely written file was stored at least once and stands in exactly"
    yield "one of inbox, done and failed, byte for byte; and in done only on one of the proofs of [answers.md](answers.md) that the"
    yield "service holds it. A test names the faults that it is about by their numbers; `pytest tests/<file>::<test>` runs one."
    for chapter, faults in FAULTS.items():
        yield from ("", f"## {chapter}", "", "| | fault | what ingestd does | shown by |", "|---|---|---|---|")
        for number, fault, behaviour in faults:
            names = (f"`{test.file}::{test.name}`" for test in tests.get(number, [])[:NAMED])
            yield f"| F{number} | {fault} | {behaviour} | {'<br>'.join(names) or 'open'} |"
    missing = [f"F{number}" for faults in FAULTS.values() for number, *_ in faults if number not in tests]
    yield ""
    yield f"Open: {', '.join(missing)}." if missing else "None is open."


if __name__ == "__main__":
    print(document(), end="")
