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
from ingestd.core.batch import FRAMING_BYTES
from ingestd.core.pace.brake import BrakeRules
from ingestd.core.ports import Supervised
from ingestd.core.second_look import SecondLookRules
from ingestd.daemon.loop import LoopRules
from ingestd.daemon.sending.jobs import AskRules
from ingestd.daemon.stages import DaemonRules, Ports, stages


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
        wake = self.wake = ports.wake if ports else threading.Event()
        self.copier = HeldExecutor()
        self.lookers = HeldExecutor()
        self.orders = orders or FakeOrders()
        self.looker = FakeLooker()
        self.stages = stages(
            Ports(
                clock=self.clock,
                scanner=self.scanner,
                inbox=self.inbox,
                origin=self.origin,
                journal=self.journal,
                filer=self.filer,
                orders=self.orders,
                looker=self.looker,
                retention=None,
                recorder=self.recorder,
                notifier=self.notifier,
                stores=self.executor,
                copier=self.copier,
                lookers=self.lookers,
                threads=threads,
                folders_problem=lambda: self.folders_problem,
                state_problem=lambda: None,
                clock_problem=lambda: None,
                wake=wake,
                rand=lambda: 0.5,
            ),
            DaemonRules(
                window=window,
                ready_ahead=ready_ahead,
                concurrency=concurrency,
                batch=batch_rules(max_request_bytes=largest + 2 * FRAMING_BYTES),
                settle=settle_rules(timeout=timeout, network_quiet=network_quiet),
                retry=retry_rules(attempts=attempts, patience=patience),
                brake=BrakeRules(in_a_row=in_a_row, last=20, share=0.95),
                ask=AskRules(
                    policy=policy, profile=profile, for_removal=for_removal, word_after=600.0, service=SERVICE
                ),
                looks=SecondLookRules(after=timeout, remove=for_removal),
                loop=LoopRules(deadline_seconds=deadline, drain_inbox=drain_inbox),
                replace_conflicts=replace_conflicts,
                words=lambda hold: hold.problem or f"{hold.cause.value}: look at the cable",
                slow=slow,
                once=once,
                receipts_age=None,
            ),
        )
        self.window, self.endings = self.stages.window, self.stages.endings
        self.intake, self.daemon = self.stages.intake, self.stages.daemon
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
