"""The composition root: settings in, a daemon out. The only place that knows every adapter.

Everything that can be refused is refused here, before a thread runs or a file is touched: folders, lock, journal, port, identity.
"""

from __future__ import annotations

import os
import random
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ingestd.config import Auth, Folders, Settings
from ingestd.core.backoff import RetryRules
from ingestd.core.batch import BatchRules, Shelves
from ingestd.core.errors import ConfigurationError
from ingestd.core.events import Event
from ingestd.core.ports import Supervised
from ingestd.core.settle import SettleRules
from ingestd.core.window import Window
from ingestd.daemon.disposing import Disposing
from ingestd.daemon.endings import Endings
from ingestd.daemon.intake import Intake, IntakeRules
from ingestd.daemon.jobs import Jobs
from ingestd.daemon.loop import Daemon, LoopRules
from ingestd.daemon.sending import BATCHES_AHEAD, Sending, SendRules
from ingestd.dicomweb.auth import AzureToken, TokenFile, TokenSource, azure_credential
from ingestd.dicomweb.client import OriginServer
from ingestd.dicomweb.codes import HOLDS
from ingestd.ops.admin import AdminServer
from ingestd.ops.clock import SystemClock
from ingestd.ops.foreign import capture
from ingestd.ops.logs import Log
from ingestd.ops.metrics import Metrics
from ingestd.ops.notify import ServiceManager
from ingestd.ops.recorder import LogAndMetrics
from ingestd.ops.space import FreeSpace
from ingestd.spool import fsutil
from ingestd.spool.discover import FolderScanner
from ingestd.spool.filing import Filing
from ingestd.spool.inbox import InboxFolder, ignore_sigio
from ingestd.spool.journal import SqliteJournal, StateLock

SALT_FILE = "salt"
LOG_CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A daemon that is ready to start, and what the commands want to know about it."""

    daemon: Daemon
    metrics: Metrics
    log: Log
    admin_address: tuple[str, int] | None


@contextmanager
def application(settings: Settings, *, once: bool = False, log_descriptor: int = 1) -> Iterator[Application]:
    """Make the daemon and everything under it; leaving the block gives all of it back.

    `once`: what is there at the start is scanned, what comes later is not (`drain`). `log_descriptor`: where log lines go.
    Raises ConfigurationError, StateHeldError, JournalError.
    """
    with ExitStack() as stack:
        clock = SystemClock()
        _make_folders(settings.folders)
        folders = _resolved(settings.folders)
        lock = StateLock(folders.state)
        stack.callback(lock.release)
        journal = SqliteJournal(folders.state)
        stack.callback(journal.close)
        ignore_sigio()

        log = Log(
            clock=clock,
            salt=_salt(folders.state),
            style=settings.log.format,
            level=settings.log.level,
            names=settings.log.paths == "name",
            descriptor=log_descriptor,
        )
        stack.callback(log.close, LOG_CLOSE_SECONDS)
        log.sink.start()
        stack.enter_context(capture(log, clock))
        free_space = FreeSpace({name: os.fspath(path) for name, path in folders})
        metrics = Metrics(version=version("ingestd"), free_space=free_space)
        recorder = LogAndMetrics(log, metrics)
        if journal.set_aside:
            recorder.log(Event.JOURNAL_SET_ASIDE)

        wake = threading.Event()
        inbox = InboxFolder(folders.inbox)
        origin = _origin(settings, inbox, clock)
        stack.callback(origin.close)
        pool = ThreadPoolExecutor(
            settings.service.concurrency + 1, thread_name_prefix="store"
        )  # one more for the probe
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)

        scanner = FolderScanner(
            root=folders.inbox,
            include=settings.intake.include,
            exclude=settings.intake.exclude,
            recursive=settings.intake.recursive,
            watch="poll" if once else settings.intake.watch,
            rescan_seconds=float("inf") if once else settings.intake.rescan_seconds,
            clock=clock,
            wake=wake.set,
        )
        rules = _retry_rules(settings)
        window = Window(settings.intake.window)
        batch_rules = _batch_rules(settings)
        shelves = Shelves(batch_rules)
        endings = Endings(
            clock=clock,
            window=window,
            journal=journal,
            filer=Filing(folders.inbox, folders.done, folders.failed, layout=settings.done.layout),
            recorder=recorder,
        )
        intake = Intake(
            clock=clock,
            scanner=scanner,
            inbox=inbox,
            journal=journal,
            window=window,
            shelves=shelves,
            endings=endings,
            recorder=recorder,
            rules=IntakeRules(
                settle=SettleRules(
                    quiet_seconds=settings.intake.quiet_seconds,
                    network_quiet_seconds=settings.intake.network_quiet_seconds,
                    incomplete_timeout_seconds=settings.intake.incomplete_timeout_seconds,
                ),
                ready_ahead=(settings.service.concurrency + BATCHES_AHEAD) * settings.batch.max_instances,
                largest_instance=batch_rules.largest_instance,
            ),
        )
        disposing = Disposing(
            clock=clock,
            journal=journal,
            window=window,
            shelves=shelves,
            endings=endings,
            rules=rules,
            rand=random.random,
        )
        sending = Sending(
            origin=origin,
            inbox=inbox,
            journal=journal,
            window=window,
            shelves=shelves,
            disposing=disposing,
            recorder=recorder,
            jobs=Jobs(pool=pool, wake=wake.set),
            rules=SendRules(concurrency=settings.service.concurrency, retry=rules, hints=HOLDS),
            rand=random.random,
        )
        threads: list[Supervised] = [log.sink]
        daemon = Daemon(
            clock=clock,
            scanner=scanner,
            threads=threads,
            origin=origin,
            journal=journal,
            window=window,
            intake=intake,
            sending=sending,
            endings=endings,
            recorder=recorder,
            notifier=ServiceManager(os.environ),
            wake=wake,
            rules=LoopRules(
                deadline_seconds=settings.shutdown.deadline_seconds,
                drain_inbox=settings.shutdown.drain == "inbox",
            ),
        )
        address = None
        if settings.admin.listen != "off":
            admin = AdminServer(
                settings.admin.listen,
                clock=clock,
                live=daemon.live_problem,
                ready=daemon.ready_problem,
                metrics=metrics.render,
            )
            stack.callback(admin.join, 0)
            threads.append(admin)
            address = admin.address
        yield Application(daemon=daemon, metrics=metrics, log=log, admin_address=address)


def _make_folders(folders: Folders) -> None:
    if not folders.inbox.is_dir():
        raise ConfigurationError(
            f"folders.inbox = {folders.inbox}: there is no such folder: make it, or mount the share"
        )
    for name, path in folders:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"folders.{name} = {path}: can't be made: {error.strerror}") from None
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigurationError(f"folders.{name} = {path}: may not be read and written: mend its owner or mode")


def _resolved(folders: Folders) -> Folders:
    """Adapters follow no symlink, so one that the operator made is followed here, once."""
    return Folders.model_validate({name: os.path.realpath(path) for name, path in folders})


def _salt(state: Path) -> bytes:
    """Keeps path digests the same from run to run, and worthless to anyone without the state folder."""
    file = state / SALT_FILE
    try:
        return file.read_bytes()
    except FileNotFoundError:
        salt = secrets.token_bytes(16)
        folder = fsutil.open_root(state)
        try:
            fsutil.write_durably(folder, SALT_FILE, salt)
        finally:
            os.close(folder)
        return salt


def _origin(settings: Settings, inbox: InboxFolder, clock: SystemClock) -> OriginServer:
    service = settings.service
    return OriginServer(
        url=service.url,
        bodies=inbox,
        clock=clock,
        token=_token_source(settings.auth),
        connections=service.concurrency + 1,
        connect_timeout=service.connect_timeout_seconds,
        response_timeout=service.response_timeout_seconds,
    )


def _token_source(auth: Auth) -> TokenSource | None:
    match auth.mode:
        case "none":
            return None
        case "token-file":
            return TokenFile(auth.token_file) if auth.token_file is not None else None
        case mode:
            return AzureToken(azure_credential(mode, client_id=auth.client_id), scope=auth.scope)


def _retry_rules(settings: Settings) -> RetryRules:
    return RetryRules(**settings.retry.model_dump())


def _batch_rules(settings: Settings) -> BatchRules:
    batch = settings.batch
    return BatchRules(
        by_study=batch.by == "study",
        max_instances=batch.max_instances,
        max_bytes=batch.max_bytes,
        linger_seconds=batch.linger_seconds,
        max_request_bytes=settings.service.max_request_bytes,
    )
