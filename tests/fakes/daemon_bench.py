"""The real daemon over fakes, one tick at a time: time stands still until a test advances it."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future
from typing import Any

from fakes.ops_fakes import FakeClock, FakeNotifier, FakeRecorder
from fakes.origin_fake import FakeOrigin
from fakes.scanner_fake import FakeScanner
from fakes.spool_fakes import FakeFiler, FakeInbox, FakeJournal, FakeLooker, FakeOrders
from fakes.values import AZURE, SERVICE, batch_rules, retry_rules, settle_rules

from ingestd.core.answers.outcome import DuplicatePolicy
from ingestd.core.answers.profiles import Profile
from ingestd.core.batch import Shelves
from ingestd.core.pace.brake import Brake, BrakeRules
from ingestd.core.ports import Supervised
from ingestd.core.second_look import SecondLookRules
from ingestd.core.window import Window
from ingestd.daemon.arriving.intake import Intake, IntakeRules
from ingestd.daemon.arriving.looking import Looking
from ingestd.daemon.ending.afterwards import Afterwards
from ingestd.daemon.ending.endings import Endings
from ingestd.daemon.housekeeping import Housekeeping
from ingestd.daemon.loop import Daemon, LoopRules
from ingestd.daemon.sending.braking import Braking
from ingestd.daemon.sending.disposing import DisposeRules, Disposing
from ingestd.daemon.sending.jobs import AskRules, Jobs, Known
from ingestd.daemon.sending.rechecking import Rechecking
from ingestd.daemon.sending.sending import Sending, SendRules


class HeldExecutor(Executor):
    """Runs a job when the test says so; `at_once` runs it when it is submitted."""

    def __init__(self) -> None:
        self.at_once = True
        self.waiting: list[tuple[Future[Any], Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: fn(*args, **kwargs)))
        if self.at_once:
            self.run()
        return future

    def run(self) -> None:
        while self.waiting:
            future, work = self.waiting.pop(0)
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - what an executor does
                future.set_exception(error)


class Bench:
    """A daemon and everything a test may look at."""

    def __init__(
        self,
        *,
        concurrency: int = 2,
        window: int = 100,
        threads: tuple[Supervised, ...] = (),
        deadline: float = 5.0,
        drain_inbox: bool = False,
        timeout: float = 900.0,
        network_quiet: float = 60.0,
        attempts: int = 3,
        largest: int = 1 << 32,
        ready_ahead: int = 1000,
        in_a_row: int = 50,
        policy: DuplicatePolicy = DuplicatePolicy.VERIFY,
        profile: Profile = AZURE,
        for_removal: bool = False,
        once: bool = False,
        patience: float = 0.0,
        replace_conflicts: bool = False,
        slow: bool = False,
        orders: FakeOrders | None = None,
        ports: Any = None,  # has clock, wake, inbox, scanner, origin, journal and filer, to use instead of the fakes
    ) -> None:
        self.clock = ports.clock if ports else FakeClock()
        self.inbox = ports.inbox if ports else FakeInbox()
        self.scanner = ports.scanner if ports else FakeScanner(clock=self.clock)
        self.origin = ports.origin if ports else FakeOrigin(self.inbox)
        self.journal = ports.journal if ports else FakeJournal()
        self.filer = ports.filer if ports else FakeFiler(self.inbox)
        self.recorder = FakeRecorder()
        self.notifier = FakeNotifier()
        self.executor = HeldExecutor()
        self.folders_problem: str | None = None
        self.window = Window(window)
        shelves = Shelves(batch_rules())
        rules = retry_rules(attempts=attempts, patience=patience)
        wake = self.wake = ports.wake if ports else threading.Event()
        common = {"clock": self.clock, "window": self.window, "journal": self.journal}
        self.copier = HeldExecutor()
        look_rules = SecondLookRules(after=timeout, remove=for_removal)
        endings = self.endings = Endings(
            **common,
            filer=self.filer,
            recorder=self.recorder,
            copier=self.copier,
            wake=wake.set,
            rules=look_rules,
        )
        self.lookers = HeldExecutor()
        self.orders = orders or FakeOrders()
        self.looker = FakeLooker()
        settle = settle_rules(timeout=timeout, network_quiet=network_quiet)
        braking = Braking(
            brake=Brake(BrakeRules(in_a_row=in_a_row, last=20, share=0.95)), orders=self.orders, recorder=self.recorder
        )
        disposing = Disposing(
            **common,
            shelves=shelves,
            endings=endings,
            braking=braking,
            orders=self.orders,
            recorder=self.recorder,
            rules=DisposeRules(retry=rules, removes=for_removal, replace_conflicts=replace_conflicts, service=SERVICE),
            rand=lambda: 0.5,
        )
        intake = self.intake = Intake(
            **common,
            scanner=self.scanner,
            looking=Looking(inbox=self.inbox, rules=settle, lookers=self.lookers, wake=wake.set, slow=slow),
            shelves=shelves,
            endings=endings,
            orders=self.orders,
            recorder=self.recorder,
            ask=disposing.ask_again,
            rules=IntakeRules(
                settle=settle, removes=for_removal, ready_ahead=ready_ahead, largest_instance=largest, once=once
            ),
        )
        jobs = Jobs(pool=self.executor, wake=wake.set)
        sending = Sending(
            origin=self.origin,
            inbox=self.inbox,
            window=self.window,
            shelves=shelves,
            disposing=disposing,
            braking=braking,
            rechecking=Rechecking(
                clock=self.clock,
                journal=self.journal,
                origin=self.origin,
                jobs=jobs,
                recorder=self.recorder,
                service=SERVICE,
                remember=endings.remember,
            ),
            recorder=self.recorder,
            jobs=jobs,
            rules=SendRules(
                concurrency=concurrency,
                retry=rules,
                ask=AskRules(
                    policy=policy,
                    profile=profile,
                    for_removal=for_removal,
                    word_after=600.0,
                    service=SERVICE,
                ),
                words=lambda hold: hold.problem or f"{hold.cause.value}: look at the cable",
            ),
            known=Known(reads=self.journal.has_read(SERVICE)),
            rand=lambda: 0.5,
        )
        self.daemon = Daemon(
            clock=self.clock,
            scanner=self.scanner,
            threads=threads,
            origin=self.origin,
            journal=self.journal,
            folders_problem=lambda: self.folders_problem,
            leases_problem=lambda: self.inbox.leases_problem,
            window=self.window,
            intake=intake,
            sending=sending,
            endings=endings,
            braking=braking,
            housekeeping=Housekeeping(
                clock=self.clock,
                journal=self.journal,
                recorder=self.recorder,
                retention=None,
                receipts_age=None,
                state_problem=lambda: None,
                clock_problem=lambda: None,
            ),
            afterwards=Afterwards(
                journal=self.journal, endings=endings, looker=self.looker, recorder=self.recorder, rules=look_rules
            ),
            recorder=self.recorder,
            notifier=self.notifier,
            wake=wake,
            rules=LoopRules(deadline_seconds=deadline, drain_inbox=drain_inbox),
        )
        self.daemon.start()

    def drop(self, path: str, content: bytes, *, leased: bool = True) -> None:
        self.inbox.put(path, content, leased=leased)
        self.scanner.offer(path)

    def tick(self, times: int = 12) -> None:
        """So many ticks at this instant: enough for a file to go its whole way."""
        for _ in range(times):
            self.daemon.tick()

    def after(self, seconds: float, *, steps: int = 1) -> None:
        """Time passes, in steps; what is due is offered by scan and journal, and ticks follow."""
        for _ in range(steps):
            self.clock.advance(seconds / steps)
            self.scanner.request_scan()
            self.tick()
