"""Files that were filed on a service's word are asked for once it lets itself be read (I2)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.bodies_fake import digest
from fakes.daemon_bench import Bench
from fakes.studies import made

from ingestd.core.answers.outcome import DuplicatePolicy, Outcome
from ingestd.core.answers.profiles import PROFILES, ServiceKind
from ingestd.core.answers.proof import Proof
from ingestd.core.events import Event
from ingestd.daemon.sending.rechecking import ANOTHER, EVERY_SECONDS, NOT_THERE
from ingestd.spool.intake.inbox import SMALL

GENERIC = PROFILES[ServiceKind.GENERIC]
WORD = ("proof: files are filed on the service's word alone: let our identity read what it holds",)

WAITS = "proof: 1 files wait: the service does not say what it holds, see `unanswered` in the log"


def filed_on_its_word(policy: DuplicatePolicy = DuplicatePolicy.VERIFY) -> Bench:
    """Three files, and a service that may not be read: filed after ten minutes."""
    bench = Bench(profile=GENERIC, policy=policy)
    bench.origin.readable = False
    for number in range(3):
        bench.drop(made(number).name, made(number).content)
    bench.after(700, steps=70)
    assert [receipt.proof for receipt in bench.journal.receipts] == [Proof.WORD] * 3
    assert len(bench.filer.done) == 3
    return bench


def let_read(bench: Bench) -> None:
    """From the next file on, which shows it."""
    bench.origin.readable = True
    bench.origin.fetches.clear()
    bench.drop(made(9).name, made(9).content)
    bench.after(5, steps=5)


def test_what_was_filed_on_its_word_is_said_and_later_asked_for() -> None:
    bench = filed_on_its_word()
    assert bench.daemon.details() == WORD
    assert bench.recorder.events.count(Event.ON_ITS_WORD) == 1
    let_read(bench)
    assert bench.daemon.details() == ()
    bench.after(4 * EVERY_SECONDS, steps=40)
    proofs = [bench.journal.receipt(ids) for ids in bench.origin.fetches]
    assert [receipt and receipt.proof for receipt in proofs] == [Proof.FETCHED] * 3
    assert Event.NOT_HELD not in bench.recorder.events
    asked = len(bench.origin.fetches)
    bench.after(20 * EVERY_SECONDS, steps=20)
    assert len(bench.origin.fetches) == asked == 3


def test_it_is_said_until_something_can_be_read() -> None:
    """I2: an answer in which no file is taken at the service's word does not end it; one that was read does."""
    bench = filed_on_its_word()
    bench.drop("again.dcm", made(0).content)
    bench.after(5, steps=5)
    assert list(bench.recorder.of(Event.VERIFIED))[-1].fields == {"files": 1, "retried": 1}
    assert bench.daemon.details() == (*WORD, WAITS)
    let_read(bench)
    bench.after(60, steps=6)
    assert bench.daemon.details() == ()


@pytest.mark.parametrize(("problem", "other"), [(NOT_THERE, "all"), (ANOTHER, "bytes"), (ANOTHER, "transfer syntax")])
def test_what_it_does_not_give_back_is_an_error(problem: str, other: str) -> None:
    """I2: nothing is written about it that is not true. The same bytes in another transfer syntax are another data set."""
    bench = filed_on_its_word()
    key, kept = next(iter(bench.origin.kept.items()))
    match other:
        case "all":
            del bench.origin.kept[key]
        case "bytes":
            bench.origin.kept[key] = replace(kept, sha256="0" * 64)
        case _:
            bench.origin.kept[key] = replace(kept, ids=replace(kept.ids, transfer_syntax_uid="1.2.840.10008.1.2"))
    let_read(bench)
    bench.after(4 * EVERY_SECONDS, steps=40)
    assert [line.fields["problem"] for line in bench.recorder.of(Event.NOT_HELD)] == [problem]
    assert bench.journal.receipt(kept.ids).proof is Proof.WORD  # type: ignore[union-attr]


def test_a_file_too_large_to_keep_has_its_digest_in_the_receipt_of_what_was_asked_later() -> None:
    """I2: it was sent in an earlier try, and asked for when it was due: its receipt still says of which bytes."""
    bench = Bench(profile=GENERIC)
    bench.origin.readable = False
    large = made(0, size=4 * SMALL)
    bench.drop(large.name, large.content)
    bench.tick()
    bench.drop("again.dcm", large.content)
    bench.after(2000, steps=100)
    word, again = bench.journal.receipts
    assert (again.outcome, again.proof) == (Outcome.ALREADY_STORED, Proof.WORD)
    assert again.sha256 == word.sha256 == digest(large.content)
    let_read(bench)
    bench.after(4 * EVERY_SECONDS, steps=40)
    assert Event.NOT_HELD not in bench.recorder.events


def test_nothing_is_asked_where_its_word_is_enough() -> None:
    """duplicates.policy = accept."""
    bench = filed_on_its_word(DuplicatePolicy.ACCEPT)
    let_read(bench)
    bench.after(4 * EVERY_SECONDS, steps=40)
    assert bench.origin.fetches == []
    assert bench.daemon.details() == ()
