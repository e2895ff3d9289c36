"""The way in: from a name to a settled instance on its shelf.

Names come in as far as the window has room (admission.py); examining pauses while the shelves hold enough for every slot, so memory
is bounded whatever the backlog. What must wait leaves the window for the journal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from ingestd.core.answers.outcome import TOO_LARGE, Quarantine
from ingestd.core.answers.proof import DigestKind
from ingestd.core.answers.reasons import SENDABLE
from ingestd.core.batch import Shelves
from ingestd.core.errors import FileDeniedError, FileError, FileGoneError, FileRefusedError, JournalError
from ingestd.core.events import Event
from ingestd.core.lifecycle import State, Step
from ingestd.core.model import Asked, Deferral, Evidence, Inspection, Instance, Lease, Look, Stamp, Wait
from ingestd.core.pace.backoff import growing
from ingestd.core.ports import Clock, Journal, Orders, Recorder, Scanner
from ingestd.core.settle import (
    Judged,
    LookAgain,
    Past,
    SetAside,
    Settled,
    SettleRules,
    Settling,
    as_is,
    closed_for,
    held_back,
    on_a_word,
    rests_for,
    settle,
)
from ingestd.core.window import Entry, Window
from ingestd.daemon.arriving.admission import Admission
from ingestd.daemon.arriving.looking import NO_STAMP, Found, Looking, Seen, StillWaits
from ingestd.daemon.ending.endings import Endings
from ingestd.daemon.ending.ledger import Ledger
from ingestd.daemon.rate_limit import RateLimit, Unreadable
from ingestd.threads.handover import NoThreadError

SLICE = 256  # files a tick
SLICE_SECONDS = 0.05  # looks at files in one tick, together: the loop has other stages, too
CONTENT_LIMIT = 64 << 20  # bytes of small files held ahead of the slots
BUSY_RETRY_SECONDS = 2.0  # a file that can't be read now, the first time; then twice as long each time
BUSY_CAP_SECONDS = 60.0  # a file that can't be read now, at most; and one in a folder that nothing can be moved out of
LOCKED_TEXT = "nothing can be moved out of the file's folder just now: it is not sent"
CHANGES = 2
STEP_SECONDS = 1.0  # a clock that is off the monotonic one by so much was set: what is older has no known age
CHANGING_TEXT = "the file changes again and again: waiting until it is left alone"

NO_MEANS_TEXT = "no memory or no thread to read the file just now: it is looked at again; raise the service's limits"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeRules:
    """When a file is settled, how many instances may be ready ahead of the slots, and the most bytes that one may have.

    `removes` as in DisposeRules. `once`: the inbox is scanned once and no more.
    """

    settle: SettleRules
    removes: bool
    ready_ahead: int
    largest_instance: int
    once: bool = False


class Intake:
    """Admits sightings, examines them, shelves what is settled."""

    def __init__(
        self,
        *,
        clock: Clock,
        scanner: Scanner,
        looking: Looking,
        journal: Journal,
        window: Window,
        shelves: Shelves,
        ledger: Ledger,
        endings: Endings,
        orders: Orders,
        recorder: Recorder,
        ask: Callable[[Entry, Instance, Asked, float], None],
        rules: IntakeRules,
    ) -> None:
        """`ask` takes an instance that is asked about again instead of being sent."""
        self._clock = clock
        self._ask = ask
        self._scanner = scanner
        self._looking = looking
        self._journal = journal
        self._window = window
        self._shelves = shelves
        self._ledger = ledger
        self._endings = endings
        self._orders = orders
        self._recorder = recorder
        self._rules = rules
        self._admission = Admission(scanner=scanner, journal=journal, window=window, rules=rules.settle)
        self._waiting = RateLimit(Event.WAITING, recorder=recorder)
        self._unreadable = Unreadable(recorder)
        self._unproved = RateLimit(Event.UNPROVED, recorder=recorder)
        self._clock_ahead = clock.wall() - clock.now()
        self._stepped_at = -math.inf

    def admit(self, now: float) -> int:
        """Take what the scanner and the journal offer, as far as there is room; how many came in."""
        if self._ledger.problem is not None:
            return 0  # what leaves the window could not be remembered
        return self._admission.admit(now)

    def due_at(self) -> float | None:
        """When a quiet file's second look is due; None while nothing would be looked at."""
        return None if self._shelves_full() or self._looking.full() else self._window.next_look_at()

    def examine(self, now: float) -> int:
        """Look at what is new and what has been quiet, in a bounded slice; how many were looked at."""
        deadline = self._clock.monotonic() + SLICE_SECONDS
        self._mind_the_clock(now)
        done = 0
        while (ended := self._looking.take()) is not None:
            self._found(*ended, now)
            done += 1
        while done < SLICE and not self._shelves_full() and not self._looking.full():
            entry = self._window.next_to_look(now) or self._window.next_to_examine()
            if entry is None:
                break
            entry.asked_at = self._clock.wall()
            found = self._looking.look(entry, now)
            if found is not None:
                self._found(entry, found, now)
            done += 1
            if self._clock.monotonic() >= deadline:
                break
        return done

    @property
    def looking(self) -> int:
        """Files that other threads look at."""
        return len(self._looking)

    def _shelves_full(self) -> bool:
        return len(self._shelves) >= self._rules.ready_ahead or self._shelves.content_bytes >= CONTENT_LIMIT

    def _found(self, entry: Entry, found: Found, now: float) -> None:
        match found:
            case Seen(look=look) if self._endings.copies(look.stamp):
                self._endings.vanished(entry)  # and if it stays, the scan finds it again
            case Seen(look=look) if held_back(look, entry.history):
                if self._rules.once:
                    self._wait(entry, look.stamp, now, BUSY_CAP_SECONDS, LOCKED_TEXT, since=now)
                else:
                    self._endings.vanished(entry)  # the next scan counts it as locked
            case Seen(look=look) if entry.state is State.QUIET and look.stamp != entry.stamp:
                self._changed(entry, look, now)
            case Seen(look=look, inspection=inspection):
                self._judge(entry, look, inspection, now)
            case StillWaits(waited=waited, after=after):
                self._admission.same(entry.inode, waited)
                self._endings.defer(entry, replace(waited, due_at=now + after, attempts=waited.attempts + 1))
            case FileGoneError() | FileRefusedError():
                self._endings.vanished(entry)
            case FileError() | MemoryError() | NoThreadError():
                tries = entry.history.attempts if entry.history is not None else 1
                after = growing(base=BUSY_RETRY_SECONDS, attempt=tries, cap=BUSY_CAP_SECONDS)
                text = str(found) if isinstance(found, FileError) else NO_MEANS_TEXT
                if isinstance(found, FileDeniedError) and entry.history is not None:  # its writer had time to let us in
                    self._unreadable.seen(entry.path, text, now)
                self._wait(entry, entry.stamp or NO_STAMP, now, after, text, since=now)
            case _:
                assert_never(found)

    def _changed(self, entry: Entry, look: Look, now: float) -> None:
        """At its second look it is another: once may be chance; what changes all the time would keep others out of the window."""
        entry.changes += 1
        if entry.changes < CHANGES:
            self._window.step(entry, Step.CHANGED)
        else:
            self._wait(entry, look.stamp, now, BUSY_RETRY_SECONDS, CHANGING_TEXT, since=now)

    def _judge(self, entry: Entry, look: Look, inspection: Inspection, now: float) -> None:
        entry.on_network = look.on_network
        history = entry.history
        if look.stamp == entry.stamp:
            if history is not None:
                self._admission.same(entry.inode, history)
            entry.looks += 1
        else:
            if history is not None:
                self._endings.forget(entry)
                history = None
            entry.restless &= entry.stamp is not None and entry.stamp.inode == look.stamp.inode
            entry.stamp, entry.looks, entry.seen_since = look.stamp, 1, now
        if history is not None and history.due_at > now and history.wait is not Wait.INCOMPLETE:
            self._endings.defer(entry, history)  # an event brought it too early
            return
        entry.inspection = inspection
        look, inspection, verdict = self._settle(entry, look, inspection, now)
        match verdict:
            case Settled() if look.stamp.size > self._rules.largest_instance:
                self._endings.quarantine(entry, TOO_LARGE, stamp=look.stamp, instance=None, attempts=0)
            case Settled(evidence=evidence, text=text):
                if text:
                    self._unproved.log(now, path=entry.path, problem=text)
                self._settled(entry, look, inspection, evidence, now)
            case LookAgain(after=after, walk=walk):
                if entry.state is State.SIGHTED:
                    self._window.step(entry, Step.LOOKED)
                entry.inspection = replace(entry.inspection, content=None)  # quiet files would fill the memory
                entry.walk_again = walk
                self._window.look_at(entry, now + after)
            case SetAside(after=after, text=text):
                unfinished = inspection.wholeness not in SENDABLE or inspection.ends_in_zeros
                unfinished &= look.lease is not Lease.REFUSED  # its bytes may change and leave the stamp
                self._wait(entry, look.stamp, now, after, text, since=entry.seen_since, unfinished=unfinished)
            case Judged(reason=reason, text=text):
                quarantine = Quarantine(reason=reason, text=text, what_to_do=reason.advice)
                self._endings.quarantine(entry, quarantine, stamp=look.stamp, instance=None, attempts=0)

    def _settle(
        self, entry: Entry, look: Look, inspection: Inspection, now: float
    ) -> tuple[Look, Inspection, Settling]:
        """The verdict, and what it is about: what a person sends as it is, is judged as if it were whole."""
        past, rules = self._past(entry, look, now), self._rules.settle
        verdict = settle(look, inspection, past=past, rules=rules)
        if isinstance(verdict, SetAside | Judged) and inspection.ids and self._orders.as_is(entry.path, look.stamp):
            look, inspection = as_is(look, inspection)
            verdict = on_a_word(settle(look, inspection, past=past, rules=rules))
        if isinstance(verdict, Settled):
            entry.rests_until = now + rests_for(look, verdict.evidence, past=past, rules=rules)
        return look, inspection, verdict

    def _mind_the_clock(self, now: float) -> None:
        """How old a ctime is that was set before a step of the clock, nobody knows."""
        ahead = self._clock.wall() - self._clock.now()
        if abs(ahead - self._clock_ahead) > STEP_SECONDS:
            self._clock_ahead, self._stepped_at = ahead, now

    def _past(self, entry: Entry, look: Look, now: float) -> Past:
        age = entry.asked_at - look.stamp.ctime_ns / 1e9
        return Past(
            looks=entry.looks,
            unchanged=now - entry.seen_since,
            age=age,
            rested=min(age, now - self._stepped_at),
            closed=closed_for(entry.closed, look, now=now, doubted_at=self._scanner.doubted_at),
            restless=entry.restless,
        )

    def _wait(
        self, entry: Entry, stamp: Stamp, now: float, after: float, text: str, *, since: float, unfinished: bool = False
    ) -> None:
        history = entry.history
        if history is not None and history.wait is not Wait.INCOMPLETE:
            self._endings.defer(entry, replace(history, due_at=now + after))  # what was counted stays counted
            return
        if not entry.waited:
            self._waiting.log(now, path=entry.path, problem=text, wait_seconds=round(after, 3))
        deferral = Deferral(
            path=entry.path,
            stamp=stamp,
            wait=Wait.INCOMPLETE,
            due_at=now + after,
            first_seen=entry.first_seen,
            since=since,
            attempts=history.attempts + 1 if history is not None else 1,
            unfinished=unfinished,
            restless=entry.restless,
        )
        self._endings.defer(entry, deferral)

    def _settled(self, entry: Entry, look: Look, inspection: Inspection, evidence: Evidence, now: float) -> None:
        if inspection.ids is None:  # whole files have their identifiers: the walk says no_uid otherwise
            raise ValueError("a whole inspection without identifiers")
        history = entry.history if entry.history is not None and entry.history.wait is not Wait.INCOMPLETE else None
        instance = Instance(
            path=entry.path,
            stamp=look.stamp,
            ids=inspection.ids,
            first_seen=entry.first_seen,
            hinted=entry.hinted,
            data_set_at=inspection.data_set_at,
            content=inspection.content,
            sha256=inspection.sha256,
            history=history,
            deleted=history is not None and history.deleted,
            evidence=evidence,
        )
        self._window.step(entry, Step.SETTLED)
        if inspection.notes:
            self._recorder.log(Event.NOTED, path=entry.path, problem="; ".join(inspection.notes))
        if history is not None and history.stored and self._stored_before(entry, instance):
            return
        if history is not None and history.asked is not None:
            self._ask(entry, instance, history.asked, now)
            return
        self._shelves.put(instance, now=now)

    def _stored_before(self, entry: Entry, instance: Instance) -> bool:
        """A file that was stored and could not be moved is not sent again: its receipt is about this very state of it.

        One whose verdict could not be carried out is judged anew, whatever older receipt its path may have.
        """
        try:
            receipt = self._journal.receipt(instance.ids)
        except JournalError:  # sent again, and found stored; Endings.commit says what is wrong
            return False
        if receipt is None or receipt.path != instance.path:
            return False
        kept = receipt.for_removal or (not self._rules.removes and receipt.digest_kind is DigestKind.DATA_SET)
        proved = replace(instance, sha256=receipt.sha256 if kept else None)
        self._endings.stored(entry, proved, receipt.outcome, None)
        return True
