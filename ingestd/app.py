"""The composition root: settings in, a daemon out. The only place that knows every adapter.

Everything that can be refused is refused here, before the loop runs or a dropped file is touched: folders, lock, journal, port,
identity.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from urllib.parse import urlsplit

from ingestd.config import Folders, Settings, unread
from ingestd.config.rules import batch_rules_of, brake_rules_of, retry_rules_of, settle_rules_of
from ingestd.core.answers.outcome import DuplicatePolicy
from ingestd.core.answers.profiles import PROFILES
from ingestd.core.answers.service_name import service_name
from ingestd.core.batch import Shelves
from ingestd.core.events import Event
from ingestd.core.pace.brake import Brake
from ingestd.core.ports import Supervised
from ingestd.core.second_look import SecondLookRules
from ingestd.core.window import Window
from ingestd.daemon.arriving.intake import Intake, IntakeRules
from ingestd.daemon.arriving.looking import LOOKERS, Looking
from ingestd.daemon.ending.afterwards import Afterwards
from ingestd.daemon.ending.endings import Endings
from ingestd.daemon.housekeeping import Housekeeping
from ingestd.daemon.loop import Daemon, LoopRules
from ingestd.daemon.sending.braking import Braking
from ingestd.daemon.sending.disposing import DisposeRules, Disposing
from ingestd.daemon.sending.jobs import AskRules, Jobs, Known
from ingestd.daemon.sending.rechecking import Rechecking
from ingestd.daemon.sending.sending import BATCHES_AHEAD, Sending, SendRules
from ingestd.dicomweb.identity.source import certificates, token_source
from ingestd.dicomweb.identity.token_cell import TokenCell
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.dicomweb.origin.holds import hold_line
from ingestd.ops.admin import AdminServer, PortTakenError
from ingestd.ops.clock import SystemClock
from ingestd.ops.foreign import capture
from ingestd.ops.logs import Log
from ingestd.ops.metrics import Metrics
from ingestd.ops.notify import ServiceManager
from ingestd.ops.space import Space
from ingestd.part10.digests import Arrival
from ingestd.spool.disk.lease import ignore_sigio
from ingestd.spool.filing.filing import Filing
from ingestd.spool.intake.inbox import InboxFolder
from ingestd.spool.intake.names import Rules
from ingestd.spool.intake.scanner import FolderScanner
from ingestd.spool.memory.clock_seen import SeenClock, last_written
from ingestd.spool.memory.folders import prepare, salt
from ingestd.spool.memory.ground import survey
from ingestd.spool.memory.journal import SqliteJournal
from ingestd.spool.memory.lock import StateLock
from ingestd.spool.memory.orders import FileOrders
from ingestd.spool.upkeep.empty_folders import EmptyFolders
from ingestd.spool.upkeep.leftovers import Leftovers
from ingestd.spool.upkeep.proving import Proving
from ingestd.spool.upkeep.retention import DAY_SECONDS, DoneRetention
from ingestd.spool.upkeep.second_looks import SecondLooks
from ingestd.spool.upkeep.worker import Task, Upkeep

LOG_CLOSE_SECONDS = 2.0  # log lines that wait when the process ends: an output that is blocked must not hold it up
CONTROL_THREADS = 2  # a probe and a lesson may be under way beside the slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A daemon that is ready to start, and what the commands want to know about it."""

    daemon: Daemon
    metrics: Metrics
    log: Log


@contextmanager
def application(settings: Settings, *, once: bool = False, log_descriptor: int = 1) -> Iterator[Application]:
    """Make the daemon and everything under it; leaving the block gives all of it back.

    `once`: what is there at the start is scanned, what comes later is not (`drain`). `log_descriptor`: where log lines go.
    Raises ConfigurationError, FolderAwayError, StateHeldError, JournalError.
    """
    with ExitStack() as stack:
        clock = SystemClock()
        token = token_source(settings.auth, settings.service, clock=clock)
        folders = prepare(settings.folders)
        lock = StateLock(folders.state)
        stack.callback(lock.release)
        written = last_written(folders.state, folders.done)
        filing = _filing(settings, folders)
        journal = _journal(stack, folders)
        ignore_sigio()

        log = Log(
            clock=clock,
            salt=salt(folders.state),
            style=settings.log.format,
            level=settings.log.level,
            names=settings.log.paths == "name",
            descriptor=log_descriptor,
        )
        stack.callback(log.close, LOG_CLOSE_SECONDS)
        log.sink.start()
        stack.enter_context(capture(log, clock))
        space = Space({name: os.fspath(path) for name, path in folders})
        recorder = Metrics(
            log=log,
            version=version("ingestd"),
            free_space=space,
            token_expiry=lambda: token.expires_at if isinstance(token, TokenCell) else 0.0,
        )
        inbox = InboxFolder(folders.inbox, clock, headerless=settings.intake.headerless == "send")
        inbox.ground()  # what the start line says of leases
        _say_started(settings, recorder, leases=inbox.leases_problem)

        wake = threading.Event()
        tls = certificates(settings.service, clock=clock)
        origin = OriginServer.of(settings.service, bodies=inbox, arrival=Arrival, clock=clock, token=token, tls=tls)
        stack.callback(origin.close)
        stores = _threads(stack, settings.service.concurrency + CONTROL_THREADS, "store")

        scanner = _scanner(settings, folders, clock, wake, once=once)
        profile = PROFILES[settings.service.profile_kind]
        service = service_name(settings.service.url, settings.service.partition)
        rules = retry_rules_of(settings.retry)
        window = Window(settings.intake.window)
        batch_rules = batch_rules_of(settings)
        shelves = Shelves(batch_rules)
        endings = Endings(
            clock=clock,
            window=window,
            journal=journal,
            filer=filing,
            recorder=recorder,
            copier=_threads(stack, 1, "copy"),
            wake=wake.set,
            rules=_look_rules(settings),
        )
        settle_rules = settle_rules_of(settings.intake)
        orders = FileOrders(folders.state)
        braking = Braking(brake=Brake(brake_rules_of(settings.brake)), orders=orders, recorder=recorder)
        disposing = Disposing(
            clock=clock,
            journal=journal,
            window=window,
            shelves=shelves,
            endings=endings,
            braking=braking,
            orders=orders,
            recorder=recorder,
            rules=DisposeRules(
                retry=rules,
                removes=settings.done.removes,
                replace_conflicts=settings.duplicates.conflict == "replace",
                service=service,
            ),
            rand=random.random,
        )
        intake = Intake(
            clock=clock,
            scanner=scanner,
            looking=Looking(
                inbox=inbox,
                rules=settle_rules,
                lookers=_threads(stack, LOOKERS, "look"),
                wake=wake.set,
                slow=inbox.on_network(),
            ),
            journal=journal,
            window=window,
            shelves=shelves,
            endings=endings,
            orders=orders,
            recorder=recorder,
            ask=disposing.ask_again,
            rules=IntakeRules(
                settle=settle_rules,
                removes=settings.done.removes,
                ready_ahead=(settings.service.concurrency + BATCHES_AHEAD) * settings.batch.max_instances,
                largest_instance=batch_rules.largest_instance,
                once=once,
            ),
        )
        jobs = Jobs(pool=stores, wake=wake.set)
        sending = Sending(
            origin=origin,
            inbox=inbox,
            window=window,
            shelves=shelves,
            disposing=disposing,
            braking=braking,
            rechecking=Rechecking(
                clock=clock,
                journal=journal,
                origin=origin,
                jobs=jobs,
                recorder=recorder,
                service=service,
                remember=endings.remember,
            ),
            recorder=recorder,
            jobs=jobs,
            rules=SendRules(
                concurrency=settings.service.concurrency,
                retry=rules,
                ask=AskRules(
                    policy=DuplicatePolicy(settings.duplicates.policy),
                    profile=profile,
                    for_removal=settings.done.removes,
                    word_after=rules.word_after_seconds,
                    service=service,
                ),
                words=partial(hold_line, url=urlsplit(settings.service.url).netloc, identified=token is not None),
            ),
            known=Known(reads=journal.has_read(service)),
            rand=random.random,
        )
        seen = SeenClock(state=folders.state, written=written, clock=clock, date=lambda: origin.date)
        proving = Proving(profile=profile, service=service, fetch=origin.fetch)
        retention = _retention(settings, folders, clock, seen, proving)
        second_looks = _second_looks(folders, clock, seen, proving)
        upkeep = Upkeep([*_tasks(settings, folders, clock, retention), second_looks], clock=clock)
        threads: list[Supervised] = [log.sink, *([token] if isinstance(token, TokenCell) else []), upkeep]
        daemon = Daemon(
            clock=clock,
            scanner=scanner,
            threads=threads,
            origin=origin,
            journal=journal,
            folders_problem=space.problem,
            leases_problem=lambda: inbox.leases_problem,
            window=window,
            intake=intake,
            sending=sending,
            endings=endings,
            braking=braking,
            housekeeping=Housekeeping(
                clock=clock,
                journal=journal,
                recorder=recorder,
                retention=retention,
                receipts_age=_seconds(settings.journal.receipts_days),
                state_problem=lock.problem,
                clock_problem=seen.problem,
            ),
            afterwards=Afterwards(
                journal=journal, endings=endings, looker=second_looks, recorder=recorder, rules=_look_rules(settings)
            ),
            recorder=recorder,
            notifier=ServiceManager(os.environ),
            wake=wake,
            rules=LoopRules(
                deadline_seconds=settings.shutdown.deadline_seconds,
                drain_inbox=settings.shutdown.drain == "inbox",
            ),
        )
        # It asks the daemon, which looks after it.
        threads.extend(_admin(stack, settings, clock, daemon, recorder=recorder, once=once))
        yield Application(daemon=daemon, metrics=recorder, log=log)


def _say_started(settings: Settings, recorder: Metrics, *, leases: str | None) -> None:
    recorder.log(
        Event.STARTED,
        version=version("ingestd"),
        url_host=urlsplit(settings.service.url).hostname,
        service_kind=settings.service.profile_kind.value,
        auth_mode=settings.auth.mode,
        listen=settings.admin.listen,
        leases=leases,
    )
    for line in unread(os.environ):
        recorder.log(Event.SETTING_UNREAD, problem=line)


def _filing(settings: Settings, folders: Folders) -> Filing:
    """On ground that can carry it. Raises ConfigurationError, FolderAwayError."""
    removes = settings.done.removes
    return Filing(
        folders.inbox,
        folders.done,
        folders.failed,
        layout=settings.done.layout,
        delete=removes,
        edits_show=survey(folders, removes=removes) is True,
        takes=Rules.of(settings.intake).fits,
    )


def _journal(stack: ExitStack, folders: Folders) -> SqliteJournal:
    journal = SqliteJournal(folders.state)
    stack.callback(journal.close)
    return journal


def _threads(stack: ExitStack, count: int, name: str) -> ThreadPoolExecutor:
    """Started as they are needed; at the end nobody waits for them."""
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    stack.callback(pool.shutdown, wait=False, cancel_futures=True)
    return pool


def _admin(
    stack: ExitStack,
    settings: Settings,
    clock: SystemClock,
    daemon: Daemon,
    *,
    recorder: Metrics,
    once: bool,
) -> list[Supervised]:
    """The admin server, where one is wanted. `drain` does without it beside a daemon that has the port."""
    if settings.admin.listen == "off":
        return []
    try:
        admin = AdminServer(
            settings.admin.listen,
            clock=clock,
            live=daemon.live_problem,
            ready=daemon.ready_problem,
            metrics=recorder.render,
            details=daemon.details,
        )
    except PortTakenError as error:
        if not once:
            raise
        recorder.log(Event.ADMIN_OFF, problem=str(error), hint="drain goes on without health and metrics")
        return []
    stack.callback(admin.join, 0)
    return [admin]


def _scanner(
    settings: Settings, folders: Folders, clock: SystemClock, wake: threading.Event, *, once: bool
) -> FolderScanner:
    intake = settings.intake
    return FolderScanner(
        root=folders.inbox,
        rules=Rules.of(intake),
        watch="poll" if once else intake.watch,
        rescan_seconds=float("inf") if once else intake.rescan_seconds,
        clock=clock,
        wake=wake.set,
    )


def _retention(
    settings: Settings, folders: Folders, clock: SystemClock, seen: SeenClock, proving: Proving
) -> DoneRetention | None:
    age = _seconds(settings.done.retention_days)
    if age is None:
        return None
    return DoneRetention(
        done=folders.done,
        state=folders.state,
        layout=settings.done.layout,
        age=age,
        rest=settings.intake.incomplete_timeout_seconds,
        proving=proving,
        clock=clock,
        doubt=seen.problem,
    )


def _look_rules(settings: Settings) -> SecondLookRules:
    return SecondLookRules(after=settings.intake.incomplete_timeout_seconds, remove=settings.done.removes)


def _second_looks(folders: Folders, clock: SystemClock, seen: SeenClock, proving: Proving) -> SecondLooks:
    return SecondLooks(done=folders.done, state=folders.state, proving=proving, clock=clock, doubt=seen.problem)


def _tasks(settings: Settings, folders: Folders, clock: SystemClock, retention: DoneRetention | None) -> list[Task]:
    """Of the upkeep thread."""
    tasks: list[Task] = [Leftovers((folders.inbox, folders.done, folders.failed), clock=clock)]
    if retention is not None:
        tasks.append(retention)
    after = settings.intake.remove_empty_dirs_after_seconds
    if after is not None and settings.intake.recursive:
        tasks.append(EmptyFolders(inbox=folders.inbox, after=after, clock=clock))
    return tasks


def _seconds(days: float | None) -> float | None:
    return days * DAY_SECONDS if days is not None else None
