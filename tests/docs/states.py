"""docs/STATES.md out of core.lifecycle.TABLE: `python tests/docs/states.py > docs/STATES.md`."""

from __future__ import annotations

from collections.abc import Iterator

from ingestd.core.lifecycle import LEFT_WINDOW, TABLE, State

THEORY = """\
A file's life inside one process is a walk through one table, `ingestd/core/lifecycle.py`. What happens to a file is a *step*; the
table says which steps a state knows and which state follows. A step that the table does not know raises and changes nothing. Two
things hold by the table's shape alone: a file is sent only by way of `READY`, and only a file whose outcome is known (`ENDING`) is
moved, or removed. A file in `DEFERRED`, `FILED` or `GONE` has left the window: no memory is held for it."""

CRASH = """\
All states are memory. What a crash leaves lies in the four folders, and nobody has to clean up by hand: a file that is still in
the inbox begins again at `SIGHTED`, whatever it was, and the journal gives back when it was first seen, how often it was tried \
and
when it is due. The tables have every state of the disk that a dead process can leave, by the call that makes it. `tests/crash/`
kills the daemon before and after each of these calls, and makes each fail, with strace; `make crash` does all of it.

A file on its way:

| on disk | made by | who goes on |
|---|---|---|
| in the inbox, and nothing else | the writer; `sendto` of a request that broke off | the scan finds it, it is judged and sent |
| in the inbox, due time in the journal | `SET_ASIDE`: `fdatasync` of `journal.sqlite-wal` | the same, once it is due; without \
the journal at once |
| in the inbox, stored, no receipt | `SENT`: the last `sendto`; the answer was lost | it is sent again, the service has it \
(FailureReason 45070): filed when what the service gives back are its bytes |
| in the inbox, stored, with a receipt | `ENDED`: `fdatasync` of `journal.sqlite-wal` | sent again, 45070: filed when its \
digest is the receipt's and what the service shows of it contradicts nothing |
| in the inbox, new empty folders in done/ or failed/ | `MOVED`: `mkdirat` | the next move into them; retention removes empty \
ones |
| in the inbox, half a reason file in failed/ as `.ingestd-*.tmp` | `MOVED`: `openat`, `write`, `fsync` | the next verdict \
under that name writes it anew |
| in the inbox, `<name>.reason.json` in failed/ | `MOVED`: `renameat` | judged again; a verdict under that name overwrites it |
| in done/; or in failed/ with its reason | `MOVED`: `renameat2` | nobody: it has ended |
| under one name in the inbox and one in done/ or failed/, one file with two links | `MOVED` where the file system has no \
rename that lands on nothing: `linkat` | judged again (two links wait as long as an incomplete file); the move finds its own \
file there, and the `unlinkat` follows |
| a new version, unsent, in done/ or failed/, a stray in the journal | `MOVED`, while a writer renamed it in and its way back was \
barred | daemon/ending/strays.py puts it back, also after a restart; it keeps its reason file until then |
| `.ingestd-*.tmp` in inbox, done/ or failed/, of a byte, or a folder | the start's probes (spool/memory/ground.py): `openat`, \
`write`, `mkdirat`, `renameat2`, `utimensat` | the next start; upkeep, when it is a day old |
| in the inbox as `name~1.dcm`, stored | `MOVED` with `done.action = delete`: `renameat2` | found stored by its receipt, removed |

A file on its way to another file system:

| on disk | made by | who goes on |
|---|---|---|
| in the inbox, part of a copy in done/ or failed/ as `.ingestd-*.tmp` | `openat`, `write`, `fchown`, `fchmod`, `utimensat`, \
`fsync` | the next try for that file begins the copy anew |
| in the inbox, and filed, with `.ingestd-*.tmp` as a second link of the copy | `linkat`, `fsync` of the folders | judged \
again; the first link is looked for, and says that it is filed, on whatever day: what lies there is synced, and the source goes |
| the same, in the inbox as `name~1.dcm` | `renameat2` in the inbox | the same: the name of the second link goes by inode, size \
and time |
| filed, with `.ingestd-*.tmp` as a second link | `unlinkat` in the inbox | upkeep, at the start or once a day, when it is a \
day old; it takes no space |
| in the inbox, and filed, no second link | `renameat2` where the target has no links (some network shares) | judged again, \
found under the name it would get that day; on a later day, or killed with the source renamed to `name~1.dcm`, it is filed a \
second time |

The state folder:

| on disk | made by | who goes on |
|---|---|---|
| `lock` | `openat` | nobody: the lock is the kernel's and ends with the process |
| no journal, an empty one, or `journal.sqlite-journal` beside it | the first start: `openat`, `pwrite64`, `fdatasync`, \
`unlink` | SQLite rolls back; the tables are made |
| `journal.sqlite-wal`, `-shm`, with half a transaction at the end | `pwrite64` before `fdatasync` | SQLite passes over it: the \
tick did not happen |
| the same, in the midst of bringing an older journal up to date | `pwrite64` before `fdatasync` | SQLite passes over it: it is of \
the version before, and the next start takes the step again |
| the same, with whole transactions | `fdatasync` | SQLite reads them; the last one to close the journal puts them into it and \
removes both |
| `journal.sqlite.damaged-<n>` | a journal that can't be read | a person, who may want to look at it |
| `.ingestd-*.tmp`; no `salt` | `openat`, `write`, `fsync` before `renameat` | the next write of the same file; until then log \
lines have other digests |
| `brake.json`, `replace/*`, `as_is/*` | a brake, an order | they are meant to stay (`ingestd resume`, the end of the file) |
| `late/*` | a second look at a file of done/ that was written after it was filed | upkeep, once that file is gone or is \
proved to be held |
| a second look with the stamp from before the move | `fdatasync`, or `renameat2` before the next one | the second look: \
where nothing lies there it is over, else only the ctime differs |

An error in place of a death (EIO, ENOSPC, EROFS, EMFILE) leaves the same states or better ones, for what was begun is undone. At
the start it refuses to start, and says why; later nobody has to start it again: a transaction that failed is written again whole,
with all its pages, and until then nothing is moved or sent (F40); a file that can't be moved waits and is tried again (F39, F45);
one that can't be opened is looked at again (F46). None of it is ever a verdict about a file (I3)."""


def document() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# What a file can be"
    yield ""
    yield "<!-- Generated by tests/docs/states.py from ingestd/core/lifecycle.py: change it there. -->"
    yield ""
    yield THEORY
    yield ""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {State.SIGHTED.name}"
    for (state, step), following in TABLE.items():
        yield f"    {state.name} --> {following.name}: {step.name}"
    for state in State:
        if not any(here is state for here, _ in TABLE):
            yield f"    {state.name} --> [*]"
    yield "```"
    yield ""
    yield "| state | meaning | in the window |"
    yield "|---|---|---|"
    for state in State:
        yield f"| `{state.name}` | {state.value} | {'no' if state in LEFT_WINDOW else 'yes'} |"
    yield ""
    yield "| state | step | what happens | next state |"
    yield "|---|---|---|---|"
    for (state, step), following in TABLE.items():
        yield f"| `{state.name}` | `{step.name}` | {step.value} | `{following.name}` |"
    yield ""
    yield "## What a crash leaves"
    yield ""
    yield CRASH


if __name__ == "__main__":
    print(document(), end="")
