"""DELETE done and POST refused: the service holds neither file, which is said, and the POST goes first from then on (F89)."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from fakes.daemon_bench import Bench
from fakes.studies import made

from ingestd.core.answers.answer import Answer, Loss
from ingestd.core.errors import FilingError
from ingestd.core.events import Event
from ingestd.core.model import Instance

ONE = made(1)
OTHER = ONE.content.replace(b"Anony^Mous", b"Other^Name")
NEITHER = "was deleted to make room, so it holds neither now"
TROUBLES = {
    "busy": Answer(status=503, retry_after=5.0),
    "unauthorized": Answer(status=401),
    "no connection": Answer(loss=Loss.NOT_SENT),
    "lost": Answer(loss=Loss.LOST),
    "broken": Answer(status=500),
}


def deleting(answer: Answer) -> Bench:
    """A daemon whose next replacement is a DELETE that goes through and a POST that is answered like this."""
    bench = Bench(replace_conflicts=True)
    bench.drop("first.dcm", ONE.content)
    bench.tick()

    def deletes(instance: Instance) -> Answer:
        bench.origin.replacements.append(instance)
        del bench.origin.kept[instance.ids.key]
        return replace(answer, deleted=True)

    bench.origin.replace = deletes  # type: ignore[method-assign]
    bench.drop("changed.dcm", OTHER)
    return bench


def restarted(bench: Bench) -> Bench:
    """Another process over the same folders, journal and service."""
    bench.origin._aborted = False
    parts = ("clock", "inbox", "scanner", "origin", "journal", "filer", "wake")
    return Bench(ports=SimpleNamespace(**{part: getattr(bench, part) for part in parts}), replace_conflicts=True)


@pytest.mark.parametrize("again", [True, False], ids=["after a restart", "in one life"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_verdict_that_comes_later_says_that_the_service_holds_neither(trouble: str, again: bool) -> None:
    """The POST is held up first; what was deleted before is not forgotten over retries and restarts."""
    bench = deleting(TROUBLES[trouble])
    bench.tick(40)
    assert len(bench.origin.replacements) == 1
    assert [line.path for line in bench.recorder.of(Event.DELETED)] == ["changed.dcm"]
    assert bench.journal.deferrals["changed.dcm"].deleted
    bench.origin.rejects[ONE.ids[2]] = 43264
    bench = restarted(bench) if again else bench
    bench.after(1200, steps=240)
    assert bench.filer.verdicts["changed.dcm"].quarantine.text.endswith(NEITHER)
    assert len(list(bench.recorder.of(Event.DELETED))) == (0 if again else 1)
    assert bench.journal.deferrals == {}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_when_the_trouble_ends_it_is_stored_and_nothing_more_is_deleted(trouble: str) -> None:
    """I2."""
    bench = deleting(TROUBLES[trouble])
    bench.after(1200, steps=240)
    assert (len(bench.origin.replacements), bench.filer.failed) == (1, {})
    assert OTHER in bench.filer.done.values()


def test_a_verdict_at_once_says_it_too() -> None:
    """DELETE and the verdict share one answer."""
    bench = deleting(Answer(status=413))
    bench.tick(40)
    assert bench.filer.verdicts["changed.dcm"].quarantine.text.endswith(NEITHER)
    assert list(bench.recorder.of(Event.DELETED)) == []


@pytest.mark.parametrize("answer", [Answer(status=413), Answer(status=503)], ids=["in one answer", "later"])
def test_a_verdict_that_can_not_be_filed_says_it_when_it_is_judged_anew(answer: Answer) -> None:
    """F31."""
    bench = deleting(answer)
    bench.filer.problem = FilingError("no room")
    bench.tick(40)
    bench.origin.rejects[ONE.ids[2]] = 43264
    bench.after(200, steps=40)
    assert bench.journal.deferrals["changed.dcm"].deleted
    bench.filer.problem = None
    bench.after(1200, steps=240)
    assert bench.filer.verdicts["changed.dcm"].quarantine.text.endswith(NEITHER)


def test_patience_that_ends_says_it() -> None:
    """The service fails on it alone, again and again, while it stores others."""
    bench = deleting(Answer(status=500))
    bench.tick(40)
    bench.origin.rejects[ONE.ids[2]] = 272
    for n in range(2, 12):
        bench.drop(f"{n}.dcm", made(n, study=n).content)
        bench.after(1000, steps=20)
    assert bench.filer.verdicts["changed.dcm"].quarantine.text.endswith(NEITHER)


@pytest.mark.parametrize("again", [True, False], ids=["after a restart", "in one life"])
def test_it_is_sent_before_all_others(again: bool) -> None:
    """The service holds neither until then; a backlog may take days."""
    bench = deleting(Answer(status=503, retry_after=60.0))
    bench.tick(40)
    bench.origin.stores.clear()
    for n in range(100, 140):
        bench.drop(f"{n}.dcm", made(n, study=n).content)
    bench.tick(40)
    assert bench.origin.stores == []
    bench = restarted(bench) if again else bench
    bench.scanner.request_scan()
    bench.executor.at_once = False
    bench.after(120)
    while not bench.origin.stores:
        bench.executor.run()
        bench.tick(4)
    assert [i.path for i in bench.origin.stores[0]] == ["changed.dcm"]
