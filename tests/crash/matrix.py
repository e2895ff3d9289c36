"""The crash matrix: which points there are, and what one round at one of them shows.

A point is one system call of the recorded run: the `count`-th of its name in its thread. Of the calls that change something and
succeeded, each is the last one before, and the last one after, which the process is killed; each call, also one that found nothing
to change, fails once with each errno. Opens for reading change nothing, and fail with the two errnos that opens know.

A round that was to break a call and broke another one, because a tick came earlier or later than in the recording, is
still a round whose end is checked; it is tried again, a few times, to hit what was aimed at.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from crash.scenario import EVERYBODY, THREADS, Round, Service, Stand, Variant
from crash.strace import SENDS, Call, Tampering

KILLS = ("before", "after")
ERRNOS = ("EIO", "ENOSPC", "EROFS", "EMFILE")
OPEN_ERRNOS = ("EIO", "EMFILE")
AIMS = 3
KILLED = -9
ENDED = (0, 1)  # all done; some in failed/
REFUSED = (75, 78)
STARTED = '"event":"started"'
UNLISTED = "could not be listed"  # a drain scans once, and says with 75 which folders it could not see


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """`where` names the places in the words of the contract, alike from round to round."""

    variant: Variant
    call: Call
    where: tuple[str, ...]
    thread: str

    @property
    def kind(self) -> str:
        """Points of one kind differ by the file, the time, or the variant alone."""
        mode = "" if self.call.writes else " (read)"
        return f"{self.thread}: {self.call.name}{mode} {' -> '.join(map(_kind_of_place, self.where))}"

    @property
    def hows(self) -> tuple[str, ...]:
        if not self.call.writes:
            return OPEN_ERRNOS
        return (*KILLS, *ERRNOS) if self.call.succeeded else ERRNOS

    def __str__(self) -> str:
        return f"{self.variant.name}: {self.thread}: {self.call.name} no. {self.call.count} {' -> '.join(self.where)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a round showed. `problems` is empty where all is well; `by_itself`: no second run was needed."""

    point: Point
    how: str
    hit: bool
    by_itself: bool
    problems: tuple[str, ...]
    output: str

    def __str__(self) -> str:
        return f"{self.point}, {self.how}{'' if self.hit else ' (missed)'}: {'; '.join(self.problems)}"


def points_of(a_round: Round, calls: Sequence[Call], *, thread: str) -> list[Point]:
    """Those of a recorded run of one thread."""
    found = ((call, places(a_round, call)) for call in calls)
    return [Point(variant=a_round.variant, call=call, where=where, thread=thread) for call, where in found if where]


def places(a_round: Round, call: Call) -> tuple[str, ...]:
    """Where a call did something that is ours; empty where it did not."""
    if call.name in SENDS:
        return ("service",) if call.paths and call.paths[0].startswith("TCP:") else ()
    out: list[str] = []
    for path in call.paths:
        for name, folder in a_round.folders.items():
            if Path(path).is_relative_to(folder):
                out.append(_alike(f"{name}/{Path(path).relative_to(folder)}"))
    return tuple(out)


def _alike(place: str) -> str:
    place = re.sub(r"\.ingestd-[0-9a-f]{16}\.tmp", ".ingestd-*.tmp", place)
    place = re.sub(r"\.ingestd-canary-[0-9a-f]{16}", ".ingestd-canary-*", place)
    place = re.sub(r"^done/\d{4}-\d\d-\d\d", "done/{date}", place)
    return re.sub(r"^state/replace/.*", "state/replace/*", place)


def _kind_of_place(place: str) -> str:
    folder, _, rest = place.partition("/")
    if folder in ("state", "service"):
        return place
    if rest in (".", "{date}", "ward", "{date}/ward"):
        return f"{folder}/ (folder)"
    if rest.endswith(".reason.json"):
        return f"{folder}/*.reason.json"
    return f"{folder}/.ingestd-*.tmp" if rest.startswith(".ingestd-") else f"{folder}/*"


def record(
    variant: Variant, service: Service, stand: Stand, here: Path, there: Path
) -> tuple[Round, list[Call], list[Point]]:
    """The undisturbed runs: one in which every thread's calls are in their order, and each thread's points."""
    together = Round(variant, service, here, there)
    everybody = _undisturbed(together, stand, EVERYBODY)
    points: list[Point] = []
    for thread in THREADS:
        a_round = Round(variant, service, here, there)
        points += points_of(a_round, _undisturbed(a_round, stand, thread), thread=thread)
        a_round.remove()
    if not variant.renames:
        points = [point for point in points if point.call.name in ("linkat", "unlinkat")]
    return together, everybody, points


def _undisturbed(a_round: Round, stand: Stand, traced: str) -> list[Call]:
    end = a_round.drain(stand, traced=traced)
    wrong = a_round.wrong()
    assert (end.code, wrong) == (1, []), f"{wrong}\n{end.output}"
    return end.calls


def aim(point: Point, how: str, service: Service, stand: Stand, here: Path, there: Path) -> Shown:
    """Rounds until the point was hit."""
    for _ in range(AIMS - 1):
        shown = _one(point, how, service, stand, here, there)
        if shown.hit or shown.problems:
            return shown
    return _one(point, how, service, stand, here, there)


def _one(point: Point, how: str, service: Service, stand: Stand, here: Path, there: Path) -> Shown:
    a_round = Round(point.variant, service, here, there)
    tampering = Tampering(name=point.call.name, count=point.call.count, how=how)
    broken = a_round.drain(stand, traced=point.thread, tampering=tampering)
    hit = any(_is_it(point, how, a_round, call) for call in broken.calls)
    problems = a_round.lost()
    output = broken.output
    if broken.code not in (*ENDED, *REFUSED, KILLED) or "internal error" in output:
        problems.append(f"it ended with {broken.code}")
    if broken.code == KILLED and how not in KILLS:
        problems.append("nobody killed it, and it was killed")
    by_itself = broken.code in ENDED
    if how not in KILLS and not by_itself and STARTED in output and UNLISTED not in output:
        problems.append(f"an error ended it with {broken.code}")
    if by_itself and a_round.waiting():
        problems.append("it said that everything had ended, and files wait")
    if not by_itself:
        again = a_round.drain(stand)
        output += "--- again\n" + again.output
        if again.code not in ENDED or "internal error" in again.output:
            problems.append(f"the next one ended with {again.code}")
    problems += a_round.wrong()
    if not problems:
        a_round.remove()
    return Shown(point=point, how=how, hit=hit, by_itself=by_itself, problems=tuple(problems), output=output)


def _is_it(point: Point, how: str, a_round: Round, call: Call) -> bool:
    wanted = point.call
    if how in KILLS and not (call.result == "?" or "DELAYED" in call.remark):
        return False
    same = (call.name, call.writes, places(a_round, call)) == (wanted.name, wanted.writes, point.where)
    return same and call.tampered and call.count == wanted.count


def sample(points: Iterable[Point], rng: random.Random, *, besides: Iterable[Point] = ()) -> list[tuple[Point, str]]:
    """Of every kind one point for each kill, and one for one of the errors; of a kind that `besides` has, too, one of the three."""
    known = {point.kind for point in besides}
    kinds: dict[str, list[Point]] = {}
    for point in points:
        kinds.setdefault(point.kind, []).append(point)
    chosen: list[tuple[Point, str]] = []
    for kind, some in kinds.items():
        killable = [point for point in some if "before" in point.hows]
        rounds = [(rng.choice(killable), how) for how in KILLS if killable]
        point = rng.choice(some)
        rounds.append((point, rng.choice([how for how in point.hows if how not in KILLS])))
        chosen += [rng.choice(rounds)] if kind in known else rounds
    return chosen


def every(points: Iterable[Point]) -> list[tuple[Point, str]]:
    return [(point, how) for point in points for how in point.hows]


def run(
    chosen: Sequence[tuple[Point, str]], stands: Sequence[Stand], one: Callable[[Point, str, Stand], Shown]
) -> list[Shown]:
    """All of them, as many at a time as there are stands."""
    free: SimpleQueue[Stand] = SimpleQueue()
    for stand in stands:
        free.put(stand)

    def work(aimed: tuple[Point, str]) -> Shown:
        stand = free.get()
        try:
            return one(*aimed, stand)
        finally:
            free.put(stand)

    with ThreadPoolExecutor(len(stands)) as pool:
        return list(pool.map(work, chosen))
