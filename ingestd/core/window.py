"""The window: every file the daemon holds in memory just now, and where each stands.

It is bounded, and it holds only what can move now: what must wait leaves it for the journal. A quarter of it is kept for files that
an event brought, so that a backlog can't shut fresh ones out, and a quarter for those that the scan found, so that a flood of
events can't stop the scan. Steps go through core.lifecycle; nothing else changes a state.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

from ingestd.core.lifecycle import LEFT_WINDOW, State, Step, after
from ingestd.core.model import Close, Deferral, Inspection, Sighting, Stamp, Wait

OLDEST_TURN = 4


@dataclass(slots=True, eq=False, kw_only=True)
class Entry:
    """One file in the window. `seen_since` is when its present stamp was first seen, `inode` what its folder's listing said;
    `waited`: it was not settled before; `restless`: it changed between its store and its move; `changes`: at a second look;
    `on_network`: the newest look found it on a network share; `closed`: what the newest event said of the end of its writing;
    `asked_at`, on Clock.wall(), just before the newest look; until `rests_until`, on Clock.now(), it is not copied away."""

    path: str
    hinted: bool
    first_seen: float
    inode: int | None = None
    history: Deferral | None = None
    state: State = State.SIGHTED
    stamp: Stamp | None = None
    looks: int = 0
    seen_since: float = 0.0
    inspection: Inspection | None = None
    walk_again: bool = False
    waited: bool = False
    restless: bool = False
    changes: int = 0
    on_network: bool = False
    closed: Close | None = None
    asked_at: float = 0.0
    rests_until: float = 0.0


class Window:
    """Bounded by `capacity` entries, and as many again that wait for a second look; a refusal leaves no trace."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: dict[str, Entry] = {}
        self._hinted: deque[Entry] = deque()  # to be examined
        self._found: deque[Entry] = deque()
        self._examined = 0
        self._quiet: list[tuple[float, int, Entry]] = []
        self._tie = itertools.count()
        self._states: Counter[State] = Counter()
        self._plain = 0

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def __getitem__(self, path: str) -> Entry:
        return self._entries[path]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def room(self, *, hinted: bool) -> int:
        """How many more of this kind it takes: a quarter is kept for the other kind. What waits for a second look has room of its
        own."""
        capacity = self._capacity + min(self._states[State.QUIET], self._capacity)
        most = capacity - self._capacity // 4
        inside = len(self._entries) - self._plain if hinted else self._plain
        return max(min(capacity - len(self._entries), most - inside), 0)

    def count(self, *states: State) -> int:
        return sum(self._states[s] for s in states)

    def admit(self, sighting: Sighting, *, now: float, history: Deferral | None = None) -> Entry:
        """A file that may move now. The caller has asked `room`, and that it is not here already."""
        entry = Entry(
            path=sighting.path,
            hinted=sighting.hinted,
            inode=sighting.inode,
            closed=sighting.closed,
            first_seen=history.first_seen if history else now,
            history=history,
            waited=history is not None and history.wait is Wait.INCOMPLETE,
            restless=history is not None and history.restless,
        )
        if history is not None:
            entry.stamp, entry.looks, entry.seen_since = history.stamp, 1, history.since
        self._entries[entry.path] = entry
        self._states[entry.state] += 1
        self._plain += not entry.hinted
        self._queue(entry)
        return entry

    def step(self, entry: Entry, step: Step) -> None:
        """Move `entry` along the table; one that has left the window is forgotten."""
        state = after(entry.state, step)
        self._states[entry.state] -= 1
        entry.state = state
        if state in LEFT_WINDOW:
            del self._entries[entry.path]
            self._plain -= not entry.hinted
            return
        self._states[state] += 1
        if state is State.SIGHTED:
            entry.inspection = None
            self._queue(entry)

    def look_at(self, entry: Entry, when: float) -> None:
        """A quiet file's second look is due at `when`."""
        heapq.heappush(self._quiet, (when, next(self._tie), entry))

    def next_to_examine(self) -> Entry | None:
        """A file that nothing is known about: the newest hinted one, and every fourth time the one that was seen first."""
        self._examined += 1
        if self._examined % OLDEST_TURN == 0 and (waiting := [q for q in (self._hinted, self._found) if q]):
            return min(waiting, key=lambda queue: queue[0].first_seen).popleft()
        if self._hinted:
            return self._hinted.pop()
        return self._found.popleft() if self._found else None

    def next_to_look(self, now: float) -> Entry | None:
        """A quiet file whose second look is due."""
        if self._quiet and self._quiet[0][0] <= now:
            return heapq.heappop(self._quiet)[2]
        return None

    def next_look_at(self) -> float | None:
        return self._quiet[0][0] if self._quiet else None

    def arriving(self) -> set[str]:
        """Studies that have a file in the window which is not settled yet."""
        return {
            e.inspection.ids.study_uid
            for _, _, e in self._quiet
            if e.inspection is not None and e.inspection.ids is not None
        }

    def oldest(self) -> float | None:
        """When the file that has been here longest was first seen."""
        return min((e.first_seen for e in self._entries.values()), default=None)

    def _queue(self, entry: Entry) -> None:
        (self._hinted if entry.hinted else self._found).append(entry)
