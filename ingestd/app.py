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

from ingestd.config import Folders, Settings, rules, unread
from ingestd.core.answers.outcome import DuplicatePolicy
from ingestd.core.answers.profiles import PROFILES
from ingestd.core.events import Event
from ingestd.core.layout import Layout
from ingestd.core.ports import Bodies, Clock, Supervised
from ingestd.daemon.arriving.looking import LOOKERS
from ingestd.daemon.loop import Daemon, LoopRules
from ingestd.daemon.sending.jobs import AskRules
from ingestd.daemon.sending.sending import BATCHES_AHEAD
from ingestd.daemon.stages import DaemonRules, Ports, stages
from ingestd.dicomweb.identity.headers import TokenSource
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
from ingestd.spool.upkeep.retention import DoneRetention
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
        memory = _memory(stack, settings)
        ignore_sigio()
        log = _log(stack, settings, memory.folders, clock, descriptor=log_descriptor)
        space = Space({name: os.fspath(path) for name, path in memory.folders})
        expiry = (lambda: token.expires_at) if isinstance(token, TokenCell) else (lambda: 0.0)
        recorder = Metrics(log=log, version=version("ingestd"), free_space=space, token_expiry=expiry)
        inbox = InboxFolder(memory.folders.inbox, clock, headerless=settings.intake.headerless == "send")
        inbox.ground()  # what the start line says of leases
        _say_started(settings, recorder, leases=inbox.leases_problem)
        origin = _service(stack, settings, inbox, clock, token)
        seen = SeenClock(state=memory.folders.state, written=memory.written, clock=clock, date=lambda: origin.date)
        upkeep, second_looks, retention = _upkeep(settings, memory.folders, clock, seen, origin)
        threads: list[Supervised] = [log.sink, *([token] if isinstance(token, TokenCell) else []), upkeep]
        wake = threading.Event()
        ports = Ports(
            clock=clock,
            scanner=_scanner(settings, memory.folders, clock, wake, once=once),
            inbox=inbox,
            origin=origin,
            journal=memory.journal,
            filer=memory.filing,
            orders=FileOrders(memory.folders.state),
            looker=second_looks,
            retention=retention,
            recorder=recorder,
            notifier=ServiceManager(os.environ),
            stores=_threads(stack, settings.service.concurrency + CONTROL_THREADS, "store"),
            copier=_threads(stack, 1, "copy"),
            lookers=_threads(stack, LOOKERS, "look"),
            threads=threads,
            folders_problem=space.problem,
            state_problem=memory.lock.problem,
            clock_problem=seen.problem,
            wake=wake,
            rand=random.random,
        )
        means = _rules(settings, slow=inbox.on_network(), once=once, identified=token is not None)
        daemon = stages(ports, means).daemon
        # It asks the daemon, which looks after it.
        threads.extend(_admin(stack, settings, clock, daemon, recorder, once=once))
        yield Application(daemon=daemon, metrics=recorder, log=log)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Memory:
    """The folders, and what outlives the process in them. `written`: when the state was last written, as far as files tell."""

    folders: Folders
    lock: StateLock
    written: float
    filing: Filing
    journal: SqliteJournal


def _memory(stack: ExitStack, settings: Settings) -> _Memory:
    """On ground that can carry it. Raises ConfigurationError, FolderAwayError, StateHeldError, JournalError."""
    folders = prepare(settings.folders)
    lock = StateLock(folders.state)
    stack.callback(lock.release)
    written = last_written(folders.state, folders.done)
    removes = settings.done.removes
    filing = Filing(
        folders.inbox,
        folders.done,
        folders.failed,
        layout=Layout(settings.done.layout),
        delete=removes,
        edits_show=survey(folders, removes=removes) is True,
        takes=Rules.of(settings.intake).fits,
    )
    journal = SqliteJournal(folders.state)
    stack.callback(journal.close)
    return _Memory(folders=folders, lock=lock, written=written, filing=filing, journal=journal)


def _service(
    stack: ExitStack, settings: Settings, bodies: Bodies, clock: Clock, token: TokenSource | None
) -> OriginServer:
    tls = certificates(settings.service, clock=clock)
    origin = OriginServer.of(settings.service, bodies=bodies, arrival=Arrival, clock=clock, token=token, tls=tls)
    stack.callback(origin.close)
    return origin


def _upkeep(
    settings: Settings, folders: Folders, clock: Clock, seen: SeenClock, origin: OriginServer
) -> tuple[Upkeep, SecondLooks, DoneRetention | None]:
    """The upkeep thread, and those of its tasks that the daemon asks."""
    done, intake = settings.done, settings.intake
    proving = Proving(
        profile=PROFILES[settings.service.profile_kind], service=rules.service_name_of(settings), fetch=origin.fetch
    )
    tasks: list[Task] = [Leftovers((folders.inbox, folders.done, folders.failed), clock=clock)]
    retention = None
    if (age := rules.seconds_of(done.retention_days)) is not None:
        retention = DoneRetention(
            done=folders.done,
            state=folders.state,
            layout=Layout(done.layout),
            age=age,
            rest=intake.incomplete_timeout_seconds,
            proving=proving,
            clock=clock,
            doubt=seen.problem,
        )
        tasks.append(retention)
    if (after := intake.remove_empty_dirs_after_seconds) is not None and intake.recursive:
        tasks.append(EmptyFolders(inbox=folders.inbox, after=after, clock=clock))
    looks = SecondLooks(done=folders.done, state=folders.state, proving=proving, clock=clock, doubt=seen.problem)
    return Upkeep([*tasks, looks], clock=clock), looks, retention


def _rules(settings: Settings, *, slow: bool, once: bool, identified: bool) -> DaemonRules:
    """What the settings mean for the stages."""
    service, intake, removes = settings.service, settings.intake, settings.done.removes
    retry = rules.retry_rules_of(settings.retry)
    return DaemonRules(
        window=intake.window,
        ready_ahead=(service.concurrency + BATCHES_AHEAD) * settings.batch.max_instances,
        concurrency=service.concurrency,
        batch=rules.batch_rules_of(settings),
        settle=rules.settle_rules_of(intake),
        retry=retry,
        brake=rules.brake_rules_of(settings.brake),
        ask=AskRules(
            policy=DuplicatePolicy(settings.duplicates.policy),
            profile=PROFILES[service.profile_kind],
            for_removal=removes,
            word_after=retry.word_after_seconds,
            service=rules.service_name_of(settings),
        ),
        looks=rules.second_look_rules_of(settings),
        loop=LoopRules(
            deadline_seconds=settings.shutdown.deadline_seconds, drain_inbox=settings.shutdown.drain == "inbox"
        ),
        replace_conflicts=settings.duplicates.conflict == "replace",
        words=partial(hold_line, url=urlsplit(service.url).netloc, identified=identified),
        slow=slow,
        once=once,
        receipts_age=rules.seconds_of(settings.journal.receipts_days),
    )


def _log(stack: ExitStack, settings: Settings, folders: Folders, clock: SystemClock, *, descriptor: int) -> Log:
    """Running from here on."""
    log = Log(
        clock=clock,
        salt=salt(folders.state),
        style=settings.log.format,
        level=settings.log.level,
        names=settings.log.paths == "name",
        descriptor=descriptor,
    )
    stack.callback(log.close, LOG_CLOSE_SECONDS)
    log.sink.start()
    stack.enter_context(capture(log, clock))
    return log


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


def _scanner(settings: Settings, folders: Folders, clock: Clock, wake: threading.Event, *, once: bool) -> FolderScanner:
    intake = settings.intake
    return FolderScanner(
        root=folders.inbox,
        rules=Rules.of(intake),
        watch="poll" if once else intake.watch,
        rescan_seconds=float("inf") if once else intake.rescan_seconds,
        clock=clock,
        wake=wake.set,
    )


def _threads(stack: ExitStack, count: int, name: str) -> ThreadPoolExecutor:
    """Started as they are needed; at the end nobody waits for them."""
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    stack.callback(pool.shutdown, wait=False, cancel_futures=True)
    return pool


def _admin(
    stack: ExitStack, settings: Settings, clock: Clock, daemon: Daemon, recorder: Metrics, *, once: bool
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
