"""The stages put together: ports and rules in, a daemon out. ingestd.app hands it the adapters, the tests their fakes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from ingestd.core.answers.outcome import Hold
from ingestd.core.batch import BatchRules, Shelves
from ingestd.core.pace.backoff import RetryRules
from ingestd.core.pace.brake import Brake, BrakeRules
from ingestd.core.ports import (
    Clock,
    Filer,
    Inbox,
    Journal,
    Notifier,
    Orders,
    Origin,
    Rand,
    Recorder,
    Retention,
    Scanner,
    SecondLooker,
    Supervised,
)
from ingestd.core.second_look import SecondLookRules
from ingestd.core.settle import SettleRules
from ingestd.core.window import Window
from ingestd.daemon.arriving.intake import Intake, IntakeRules
from ingestd.daemon.arriving.looking import Looking
from ingestd.daemon.beat import Beat
from ingestd.daemon.ending.afterwards import Afterwards
from ingestd.daemon.ending.endings import Endings
from ingestd.daemon.ending.ledger import Ledger
from ingestd.daemon.housekeeping import Housekeeping
from ingestd.daemon.loop import Daemon, LoopRules
from ingestd.daemon.pulse import Pulse
from ingestd.daemon.remaining import Remaining
from ingestd.daemon.sending.braking import Braking
from ingestd.daemon.sending.disposing import DisposeRules, Disposing
from ingestd.daemon.sending.jobs import AskRules, Jobs, Known
from ingestd.daemon.sending.rechecking import Rechecking
from ingestd.daemon.sending.sending import Sending, SendRules

Problem = Callable[[], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """All that is not the daemon's own. `stores`, `copier` (one thread) and `lookers` do the work that may take long.

    `threads` are kept alive beside the scanner; more may be added to the list later. The problems are one line without a path.
    """

    clock: Clock
    scanner: Scanner
    inbox: Inbox
    origin: Origin
    journal: Journal
    filer: Filer
    orders: Orders
    looker: SecondLooker
    retention: Retention | None
    recorder: Recorder
    notifier: Notifier
    stores: Executor
    copier: Executor
    lookers: Executor
    threads: Sequence[Supervised]
    folders_problem: Problem
    state_problem: Problem
    clock_problem: Problem
    wake: threading.Event
    rand: Rand


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonRules:
    """What the settings mean for the stages. `window` and `ready_ahead` count files, `concurrency` requests.

    `words`: the line that says of a hold how to mend it. `slow`: the inbox lies on a network share. `once`: it is scanned once and
    no more. `receipts_age` in seconds, None: for ever.
    """

    window: int
    ready_ahead: int
    concurrency: int
    batch: BatchRules
    settle: SettleRules
    retry: RetryRules
    brake: BrakeRules
    ask: AskRules
    looks: SecondLookRules
    loop: LoopRules
    replace_conflicts: bool
    words: Callable[[Hold], str]
    slow: bool
    once: bool
    receipts_age: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The daemon, and those of its stages that a test looks at."""

    window: Window
    endings: Endings
    intake: Intake
    daemon: Daemon


def stages(ports: Ports, rules: DaemonRules) -> Stages:
    """From the tail to the head, because a stage knows the one that it hands a file on to."""
    clock, journal, recorder, wake = ports.clock, ports.journal, ports.recorder, ports.wake.set
    removes, service = rules.ask.for_removal, rules.ask.service
    window, shelves = Window(rules.window), Shelves(rules.batch)
    ledger = Ledger(clock=clock, journal=journal, recorder=recorder)
    endings = Endings(
        clock=clock,
        window=window,
        journal=journal,
        ledger=ledger,
        filer=ports.filer,
        recorder=recorder,
        copier=ports.copier,
        wake=wake,
        rules=rules.looks,
    )
    braking = Braking(brake=Brake(rules.brake), orders=ports.orders, recorder=recorder)
    disposing = Disposing(
        clock=clock,
        journal=journal,
        window=window,
        shelves=shelves,
        endings=endings,
        braking=braking,
        orders=ports.orders,
        recorder=recorder,
        rules=DisposeRules(
            retry=rules.retry, removes=removes, replace_conflicts=rules.replace_conflicts, service=service
        ),
        rand=ports.rand,
    )
    jobs = Jobs(pool=ports.stores, wake=wake)
    sending = Sending(
        origin=ports.origin,
        inbox=ports.inbox,
        window=window,
        shelves=shelves,
        disposing=disposing,
        braking=braking,
        rechecking=Rechecking(
            clock=clock,
            journal=journal,
            origin=ports.origin,
            jobs=jobs,
            recorder=recorder,
            service=service,
            ledger=ledger,
        ),
        recorder=recorder,
        jobs=jobs,
        known=Known(reads=journal.has_read(service)),
        rules=SendRules(concurrency=rules.concurrency, retry=rules.retry, ask=rules.ask, words=rules.words),
        rand=ports.rand,
    )
    intake = Intake(
        clock=clock,
        scanner=ports.scanner,
        looking=Looking(inbox=ports.inbox, rules=rules.settle, lookers=ports.lookers, wake=wake, slow=rules.slow),
        journal=journal,
        window=window,
        shelves=shelves,
        ledger=ledger,
        endings=endings,
        orders=ports.orders,
        recorder=recorder,
        ask=disposing.ask_again,
        rules=IntakeRules(
            settle=rules.settle,
            removes=removes,
            ready_ahead=rules.ready_ahead,
            largest_instance=rules.batch.largest_instance,
            once=rules.once,
        ),
    )
    afterwards = Afterwards(journal=journal, ledger=ledger, looker=ports.looker, recorder=recorder, rules=rules.looks)
    housekeeping = Housekeeping(
        clock=clock,
        journal=journal,
        recorder=recorder,
        retention=ports.retention,
        receipts_age=rules.receipts_age,
        state_problem=ports.state_problem,
        clock_problem=ports.clock_problem,
    )
    remaining = Remaining(scanner=ports.scanner, journal=journal, window=window, ledger=ledger, endings=endings)
    pulse = Pulse(
        scanner=ports.scanner,
        origin=ports.origin,
        journal=journal,
        window=window,
        remaining=remaining,
        sending=sending,
        ledger=ledger,
        endings=endings,
        braking=braking,
        afterwards=afterwards,
        recorder=recorder,
        notifier=ports.notifier,
        folders_problem=ports.folders_problem,
        leases_problem=lambda: ports.inbox.leases_problem,
    )
    daemon = Daemon(
        clock=clock,
        scanner=ports.scanner,
        threads=ports.threads,
        origin=ports.origin,
        intake=intake,
        sending=sending,
        ledger=ledger,
        endings=endings,
        remaining=remaining,
        pulse=pulse,
        beat=Beat(pulse=pulse, housekeeping=housekeeping, afterwards=afterwards, recorder=recorder),
        recorder=recorder,
        notifier=ports.notifier,
        wake=ports.wake,
        rules=rules.loop,
    )
    return Stages(window=window, endings=endings, intake=intake, daemon=daemon)
