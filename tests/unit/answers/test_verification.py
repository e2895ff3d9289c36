"""What proves that the service holds these bytes: the next question, or the outcome (I2; DESIGN 3a, as a table)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from fakes.values import AZURE, GENERIC, OTHER_SHA, REWRITING, SHA, instance, receipt
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.answer import Fetched, Held, Loss, Shown
from ingestd.core.answers.outcome import (
    AlreadyStored,
    Disposition,
    DuplicatePolicy,
    Outcome,
    Quarantine,
    Retry,
    Stored,
    StoredWithWarning,
)
from ingestd.core.answers.profiles import ServiceKind, kind_of
from ingestd.core.answers.proof import DigestKind, Proof
from ingestd.core.answers.reasons import Reason
from ingestd.core.answers.verification import Facts, Step, decide
from ingestd.core.model import Asked, Identifiers, Wait

ONE = instance("1.1")
IDS = ONE.ids
UIDS: dict[str, tuple[str, ...]] = {"0020000D": ("1.2",), "0020000E": ("1.2.1",), "00080018": ("1.1",)}
OWN: Mapping[str, tuple[str, ...]] = UIDS | {"00100020": ("P1",), "00200013": ("7",)}
SHOWN = Held(status=200, elements=dict(OWN))
CONTRADICTED = Held(status=200, elements=OWN | {"00100020": ("P2",), "00200013": ("8",)})
ANOTHER = Held(status=200, elements=OWN | {"00080018": ("1.9",)})
NOBODY = Held(status=200, elements={"00080060": ("CT",)})
UNREADABLE = Held(status=200)
ABSENT, REFUSED, SILENT = Held(status=404), Held(status=403), Held(status=500)


def fetched(sha256: str | None = SHA, *, ids: Identifiers = IDS, syntax: str = IDS.transfer_syntax_uid) -> Fetched:
    return Fetched(status=200, sha256=sha256, transfer_syntax_uid=syntax, key=ids.key)


SAME, OTHER = fetched(), fetched(OTHER_SHA)
GONE, NOT_ALLOWED, NO_ANSWER = Fetched(status=404), Fetched(status=405), Fetched(status=None, loss=Loss.TIMEOUT)


def facts(asked: Asked = Asked.HELD, **more: object) -> Facts:
    base = Facts(ids=IDS, asked=asked, sha256=SHA, policy=DuplicatePolicy.VERIFY, profile=GENERIC)
    return replace(base, **more)  # type: ignore[arg-type]


NAMED = facts(Asked.NAMED)
HELD = facts(Asked.HELD, reads=True)
KNOWN = replace(HELD, remembered=True)
ASK_AGAIN = Retry(wait=Wait.UNANSWERED, asked=Asked.HELD)


def proved(proof: Proof) -> AlreadyStored:
    return AlreadyStored(proof=proof)


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (None, Shown.NOTHING),
        (200, Shown.UNREADABLE),
        (204, Shown.UNREADABLE),
        (206, Shown.UNREADABLE),
        (302, Shown.REFUSED),
        (400, Shown.NOTHING),
        *((status, Shown.REFUSED) for status in (401, 403, 405, 406, 501)),
        (404, Shown.ABSENT),
        (410, Shown.ABSENT),
        (429, Shown.NOTHING),
        (500, Shown.NOTHING),
    ],
)
def test_what_a_status_shows(status: int | None, shown: Shown) -> None:
    """I2: no answer, a refusal and "not there" are three things, and none of them is the instance."""
    assert Held(status=status).shown(IDS) is shown
    assert Fetched(status=status).shown(IDS) is shown
    if status != 200:
        assert Held(status=status, elements=dict(OWN)).shown(IDS) is shown
        assert replace(SAME, status=status).shown(IDS) is shown


@pytest.mark.parametrize(
    ("held", "shown"),
    [
        (SHOWN, Shown.IT),
        (Held(status=200, elements=UIDS), Shown.IT),
        (ANOTHER, Shown.ANOTHER),
        (NOBODY, Shown.ANOTHER),
        (Held(status=200, elements={}), Shown.ANOTHER),
        *(
            (Held(status=200, elements={t: v for t, v in OWN.items() if t != gone}), Shown.ANOTHER)
            for gone in ("0020000D", "0020000E", "00080018")
        ),
    ],
)
def test_metadata_count_only_if_all_three_uids_are_there_and_right(held: Held, shown: Shown) -> None:
    """F80: an answer about something else is no answer."""
    assert held.shown(IDS) is shown


def test_bytes_count_only_if_they_are_those_of_this_instance() -> None:
    """F80."""
    assert SAME.shown(IDS) is Shown.IT
    assert fetched(ids=instance("1.9").ids).shown(IDS) is Shown.ANOTHER
    assert replace(SAME, key=None).shown(IDS) is Shown.UNREADABLE
    assert replace(SAME, sha256=None).shown(IDS) is Shown.UNREADABLE


# The next question.


@pytest.mark.parametrize(
    ("known", "step"),
    [
        (HELD, Step.FETCH),
        (KNOWN, Step.METADATA),
        (replace(KNOWN, policy=DuplicatePolicy.COMPARE), Step.FETCH),
        (replace(KNOWN, held=CONTRADICTED, own=OWN), Step.FETCH),
        (replace(KNOWN, held=SHOWN, own={}), Step.FETCH),
        (replace(KNOWN, held=SHOWN, own=None), Step.FETCH),
        (replace(KNOWN, held=ANOTHER), Step.FETCH),
        (replace(KNOWN, held=NOBODY), Step.FETCH),
        (replace(KNOWN, held=UNREADABLE), Step.FETCH),
        (replace(KNOWN, held=REFUSED), Step.FETCH),
        (replace(HELD, policy=DuplicatePolicy.METADATA), Step.METADATA),
        (replace(HELD, policy=DuplicatePolicy.METADATA, held=CONTRADICTED, own=OWN), Step.FETCH),
        (NAMED, Step.FETCH),
        (replace(NAMED, absent_before=True), Step.SEARCH),
        (replace(NAMED, absent_before=True, searched=True, shows=False), Step.FETCH),
        (replace(NAMED, absent_before=True, searched=True), Step.FETCH),
        (replace(NAMED, absent_before=True, searches=True, warning=0xB006), Step.FETCH),
        (replace(NAMED, absent_before=True, searches=True, for_removal=True), Step.FETCH),
        (replace(HELD, absent_before=True, searches=True), Step.FETCH),
        (replace(KNOWN, for_removal=True), Step.FETCH),
        (replace(HELD, policy=DuplicatePolicy.ACCEPT, for_removal=True), Step.FETCH),
        (replace(NAMED, profile=REWRITING), Step.METADATA),
        (replace(HELD, fetched=OTHER), Step.METADATA),
    ],
)
def test_what_is_asked_next(known: Facts, step: Step) -> None:
    """I2, F79, F80, F81, F87: the cheap question first where it can prove something; else the bytes."""
    assert decide(known) is step


# What proves it.


@pytest.mark.parametrize(
    ("known", "proof"),
    [
        (replace(HELD, fetched=SAME), Proof.FETCHED),
        (replace(HELD, fetched=SAME, held=CONTRADICTED, own=OWN), Proof.FETCHED),
        (replace(KNOWN, held=SHOWN, own=OWN), Proof.REMEMBERED),
        (replace(HELD, policy=DuplicatePolicy.METADATA, held=SHOWN, own=OWN), Proof.SEEN),
        (replace(HELD, policy=DuplicatePolicy.ACCEPT), Proof.WORD),
        (replace(KNOWN, for_removal=True, fetched=SAME), Proof.FETCHED),
        (replace(KNOWN, for_removal=True, fetched=NOT_ALLOWED, held=SHOWN, own=OWN), Proof.REMEMBERED),
        (replace(HELD, for_removal=True, policy=DuplicatePolicy.ACCEPT, fetched=NOT_ALLOWED), Proof.WORD),
    ],
)
def test_what_is_there_already_is_proved(known: Facts, proof: Proof) -> None:
    """I2, F78, F79: by its bytes, or by our receipt of them and metadata that contradict nothing."""
    assert decide(known) == proved(proof)
    if proof is not Proof.WORD:
        assert decide(replace(known, asked=Asked.UNNAMED)) == Stored(proof=proof)


@pytest.mark.parametrize(
    ("known", "proof"),
    [
        (replace(NAMED, absent_before=True, searches=True), Proof.ASKED),
        (replace(NAMED, absent_before=True, searched=True, shows=True), Proof.ASKED),
        (replace(NAMED, absent_before=True, searches=True, warning=0xB000), Proof.ASKED),
        (replace(NAMED, absent_before=True, searches=True, warning=999), Proof.ASKED),
        (replace(NAMED, fetched=SAME, warning=0xB006), Proof.FETCHED),
        (replace(NAMED, absent_before=True, searches=True, for_removal=True, fetched=SAME), Proof.FETCHED),
        (replace(NAMED, absent_before=True, searches=True, for_removal=True, fetched=NOT_ALLOWED), Proof.ASKED),
        (replace(NAMED, absent_before=True, searches=True, for_removal=True, fetched=fetched(None)), Proof.ASKED),
        (
            replace(NAMED, absent_before=True, searches=True, for_removal=True, fetched=OTHER, warning=0xB000),
            Proof.ASKED,
        ),
        (replace(NAMED, profile=REWRITING, held=SHOWN, own=OWN), Proof.SEEN),
        (replace(NAMED, profile=REWRITING, for_removal=True, fetched=OTHER, held=SHOWN, own=OWN), Proof.SEEN),
        (
            replace(
                NAMED,
                profile=REWRITING,
                held=Held(status=200, elements=OWN | {"00100010": ("X",)}),
                own=OWN | {"00100010": ("Y",)},
            ),
            Proof.SEEN,
        ),
        (replace(NAMED, fetched=NOT_ALLOWED), Proof.WORD),
        (replace(NAMED, fetched=NO_ANSWER), Proof.WORD),
        (replace(NAMED, fetched=GONE), Proof.WORD),
    ],
)
def test_what_is_named_is_proved(known: Facts, proof: Proof) -> None:
    """I2, F81, F82: it was not there before, or its bytes are; the word alone where nothing could ever be asked."""
    expected: Disposition = Stored(proof=proof)
    if known.warning is not None:
        expected = StoredWithWarning(proof=proof, warning_reason=known.warning)
    assert decide(known) == expected


@pytest.mark.parametrize("profile", [GENERIC, AZURE, REWRITING])
@pytest.mark.parametrize("asked", Asked)
@pytest.mark.parametrize(
    "silence", [NO_ANSWER, Fetched(status=503), NOT_ALLOWED, fetched(None), fetched(ids=instance("1.9").ids)]
)
def test_a_question_without_an_answer_is_asked_again_and_nothing_is_sent(
    asked: Asked, silence: Fetched, profile: object
) -> None:
    """I2, F87: a service that has shown something once is waited for, however long."""
    known = facts(asked, reads=True, fetched=silence, held=SILENT, profile=profile, waited=1e9, comment="words")
    assert decide(known) == Retry(wait=Wait.UNANSWERED, asked=asked, comment="words")


def test_metadata_without_an_answer_are_asked_for_again() -> None:
    """F87: whether it is there at all nobody has said."""
    assert decide(replace(KNOWN, held=SILENT)) == ASK_AGAIN


def test_a_service_that_lets_nothing_be_read_is_taken_at_its_word_after_ten_minutes() -> None:
    """I2: roles take five minutes to spread; where it gave no word the file is sent again, which is idempotent."""
    for shown in (NOT_ALLOWED, GONE):
        silent = facts(Asked.HELD, fetched=shown, waited=599.0)
        assert decide(silent) == ASK_AGAIN
        assert decide(replace(silent, waited=600.0)) == proved(Proof.WORD)
        for asked in (Asked.UNNAMED, Asked.REFUSED):
            assert decide(replace(silent, asked=asked)) == Retry(wait=Wait.UNANSWERED, asked=asked)
            assert decide(replace(silent, asked=asked, waited=600.0)) == Retry(wait=Wait.UNVERIFIED)


@pytest.mark.parametrize("junk", [NO_ANSWER, fetched(None), fetched(ids=instance("1.9").ids), Fetched(status=500)])
@pytest.mark.parametrize("asked", [Asked.HELD, Asked.UNNAMED, Asked.REFUSED])
def test_silence_and_answers_about_something_else_are_no_refusal_to_be_asked(asked: Asked, junk: Fetched) -> None:
    """F80, F87: however long it takes."""
    assert decide(facts(asked, fetched=junk, waited=1e9)) == Retry(wait=Wait.UNANSWERED, asked=asked)


def test_what_is_named_by_a_service_that_answers_about_others_is_asked_again() -> None:
    """F80: it lets itself be asked, and its answers are not to be believed."""
    named = replace(NAMED, fetched=fetched(ids=instance("1.9").ids))
    assert decide(named) == Retry(wait=Wait.UNANSWERED, asked=Asked.NAMED)


def test_what_the_service_does_not_have_is_sent_again() -> None:
    """I2, F84: it answered, and it is not there; only what was refused alone, or left unnamed alone, is charged."""
    gone = {
        Asked.HELD: Retry(wait=Wait.UNVERIFIED, http_status=404),
        Asked.NAMED: Retry(wait=Wait.UNVERIFIED, http_status=404),
        Asked.UNNAMED: Retry(wait=Wait.UNNAMED, comment="words"),
        Asked.REFUSED: Retry(wait=Wait.REFUSED_ALONE, http_status=409, comment="words"),
    }
    for asked, expected in gone.items():
        known = facts(asked, reads=True, comment="words")
        assert decide(replace(known, fetched=GONE)) == expected
        assert decide(replace(known, remembered=True, held=ABSENT)) == expected


def test_a_search_that_finds_nothing_is_no_read_that_shows_something() -> None:
    """I2, F85: a gateway answered 204 to every GET, so its searches found nothing: 300 stored files waited for ever.

    It is taken at its word. What a search and a read both say is not there is sent again.
    """
    named = facts(Asked.NAMED, absent_before=True, searched=True, shows=False)
    assert decide(replace(named, fetched=Fetched(status=204))) == Stored(proof=Proof.WORD)
    assert decide(replace(named, fetched=GONE)) == Retry(wait=Wait.UNVERIFIED, http_status=404)
    held = facts(Asked.HELD, absent_before=True, fetched=GONE)
    assert decide(held) == Retry(wait=Wait.UNVERIFIED, http_status=404)


def test_metadata_that_are_there_and_bytes_that_are_not_contradict_each_other() -> None:
    """I2: the route is wrong, or the service is: nothing is proved and nothing sent."""
    assert decide(replace(KNOWN, held=CONTRADICTED, own=OWN, fetched=GONE)) == ASK_AGAIN


# Conflicts.


def test_other_bytes_are_a_conflict_that_names_what_differs_and_no_value() -> None:
    """I2, I7, F36, F78: tags, never values."""
    found = decide(replace(HELD, fetched=OTHER, held=CONTRADICTED, own=OWN))
    assert isinstance(found, Quarantine)
    assert (found.reason, found.http_status, found.by_service) == (Reason.CONFLICT, None, True)
    assert (
        found.text
        == "the service holds another file under the same UIDs; these elements differ: (0010,0020), (0020,0013)"
    )
    assert found.differs == ("00100020", "00200013")


def test_a_conflict_in_what_is_no_metadata_says_so() -> None:
    """F78: half an image has the metadata of the whole one."""
    found = decide(replace(HELD, fetched=OTHER, held=SHOWN, own=OWN))
    assert isinstance(found, Quarantine)
    assert found.text.endswith(
        "its metadata show no difference: what they don't show, or not exactly, differs, such as the pixels"
    )
    assert found.differs == ()


def test_a_conflict_in_what_metadata_do_not_show_exactly_does_not_blame_the_pixels_alone() -> None:
    """DESIGN 3a, F78: of two names in bytes that no character set declares the service shows the same "?"."""
    own = OWN | {"00100010": ("\ufffd^\ufffd",)}
    held = Held(status=200, elements=OWN | {"00100010": ("????^???",)})
    found = decide(replace(HELD, fetched=OTHER, held=held, own=own))
    assert isinstance(found, Quarantine)
    assert "or not exactly" in found.text
    assert found.differs == ()


@pytest.mark.parametrize("held", [SILENT, UNREADABLE, ANOTHER, ABSENT])
def test_a_conflict_whose_difference_is_not_known_says_nothing_of_it(held: Held) -> None:
    found = decide(replace(HELD, fetched=OTHER, held=held))
    assert isinstance(found, Quarantine)
    assert (found.text, found.differs) == ("the service holds another file under the same UIDs", None)


def test_the_same_bytes_in_another_transfer_syntax_are_another_file() -> None:
    """I2: the same bytes read in another way."""
    found = decide(replace(HELD, fetched=fetched(syntax="1.2.840.10008.1.2"), held=SHOWN, own=OWN))
    assert isinstance(found, Quarantine)
    assert "in another transfer syntax" in found.text


def test_many_differences_stay_one_short_line() -> None:
    own = OWN | {f"0010{n:04x}": ("a",) for n in range(100)}
    held = Held(status=200, elements=OWN | {f"0010{n:04x}": ("b",) for n in range(100)})
    found = decide(replace(HELD, fetched=OTHER, held=held, own=own))
    assert isinstance(found, Quarantine)
    assert found.text.endswith("(0010,0007) and 92 more")
    assert found.differs is not None
    assert len(found.differs) == 100


def test_what_the_service_says_that_it_changed_is_not_held() -> None:
    """I2, F82: elements were discarded, and its bytes are others."""
    found = decide(replace(NAMED, fetched=OTHER, warning=0xB006, held=SHOWN, own=OWN))
    assert isinstance(found, Quarantine)
    assert found.text.startswith("the service stored this instance changed (WarningReason 45062)")


def test_other_bytes_of_a_service_that_rewrites_convict_nobody() -> None:
    """I3: it changes what it stores."""
    known = replace(HELD, profile=REWRITING, fetched=OTHER, for_removal=True)
    assert decide(known) == ASK_AGAIN
    assert decide(replace(known, held=CONTRADICTED, own=OWN)) == ASK_AGAIN
    assert decide(replace(known, asked=Asked.NAMED)) is Step.METADATA


# What holds for all of it.

helds = st.none() | st.sampled_from([SHOWN, CONTRADICTED, ANOTHER, NOBODY, UNREADABLE, ABSENT, REFUSED, SILENT])
bytes_found = st.none() | st.sampled_from([SAME, OTHER, GONE, NOT_ALLOWED, NO_ANSWER, fetched(None)])


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    searched = draw(st.booleans())
    return facts(
        draw(st.sampled_from(Asked)),
        policy=draw(st.sampled_from(DuplicatePolicy)),
        profile=draw(st.sampled_from([GENERIC, AZURE, REWRITING])),
        for_removal=draw(st.booleans()),
        warning=draw(st.sampled_from([None, 1, 0xB000, 0xB006])),
        absent_before=draw(st.booleans()),
        searches=draw(st.booleans()),
        reads=draw(st.booleans()),
        remembered=draw(st.booleans()),
        waited=draw(st.sampled_from([0.0, 1e6])),
        searched=searched,
        shows=draw(st.sampled_from([None, True, False])) if searched else None,
        held=draw(helds),
        own=draw(st.sampled_from([None, OWN])),
        fetched=draw(bytes_found),
    )


@given(any_facts())
def test_only_what_was_proved_is_stored_and_only_other_bytes_are_a_conflict(known: Facts) -> None:
    """I2, I3: a policy or a silent service may be content with less, and then the proof says so."""
    match decide(known):
        case Stored(proof=proof) | StoredWithWarning(proof=proof) | AlreadyStored(proof=proof):
            match proof:
                case Proof.FETCHED:
                    assert known.fetched == SAME
                case Proof.ASKED:
                    assert known.asked is Asked.NAMED
                    assert known.absent_before
                case Proof.REMEMBERED:
                    assert known.remembered
                    assert known.held == SHOWN
                case Proof.SEEN:
                    assert known.held == SHOWN
                case Proof.WORD:
                    assert known.asked in (Asked.NAMED, Asked.HELD)
                    assert known.policy is DuplicatePolicy.ACCEPT or not known.read
                case _:
                    pytest.fail("a service's answer alone is no proof here")
        case Quarantine(reason=reason):
            assert reason is Reason.CONFLICT
            assert known.fetched == OTHER
            assert not known.profile.rewrites
        case _:
            pass


@given(any_facts(), helds, bytes_found.filter(lambda f: f is not None), st.sampled_from([None, True, False]))
def test_every_question_is_asked_once(known: Facts, held: Held | None, found: Fetched, shows: bool | None) -> None:
    """I8: the way through the questions ends."""
    known = replace(known, searched=False, shows=None, held=None, fetched=None)
    for _ in Step:
        match decide(known):
            case Step.SEARCH:
                assert not known.searched
                known = replace(known, searched=True, shows=shows)
            case Step.METADATA:
                assert known.held is None
                known = replace(known, held=held or SILENT)
            case Step.FETCH:
                assert known.fetched is None
                known = replace(known, fetched=found)
    assert not isinstance(decide(known), Step)


# Receipts and kinds.


@pytest.mark.parametrize("proof", Proof)
def test_a_receipt_speaks_for_bytes_by_its_proof(proof: Proof) -> None:
    """I1, I2: nothing goes for good on a word, a question or metadata."""
    known = receipt(ONE, proof=proof)
    assert known.of_bytes(GENERIC) is known.for_removal is (proof in (Proof.NEW, Proof.FETCHED))
    assert not replace(known, sha256="").of_bytes(AZURE)


def test_a_receipt_of_the_first_kind_is_as_good_as_its_service() -> None:
    """F96: what Azure named it did not have before; what others named proves nothing about bytes."""
    old = receipt(ONE, proof=None)
    assert old.of_bytes(AZURE)
    assert not old.for_removal
    assert not old.of_bytes(GENERIC)
    assert not replace(old, http_status=None).of_bytes(AZURE)
    assert not replace(old, http_status=409).of_bytes(AZURE)
    assert not replace(old, outcome=Outcome.ALREADY_STORED).of_bytes(AZURE)
    warned = replace(old, outcome=Outcome.STORED_WITH_WARNING, reason=0xB007)
    assert warned.of_bytes(AZURE)
    assert not replace(warned, reason=0xB006).of_bytes(AZURE)


def test_a_receipt_says_from_where_its_digest_was_made() -> None:
    """F96: those of the first kind from byte 128 on, wherever the data set begins."""
    old, new = (replace(receipt(ONE), digest_kind=kind) for kind in (DigestKind.FROM_128, DigestKind.DATA_SET))
    assert [old.digest_at(340), new.digest_at(340)] == [128, 340]


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("ws-ct.dicom.azurehealthcareapis.com", ServiceKind.AZURE),
        ("WS-CT.DICOM.AzureHealthcareAPIs.com.", ServiceKind.AZURE),
        ("ws.dicom.azurehealthcareapis.us", ServiceKind.AZURE),
        ("dicom.azurehealthcareapis.com.example.org", ServiceKind.GENERIC),
        ("evil-dicom.azurehealthcareapis.com", ServiceKind.GENERIC),
        ("127.0.0.1", ServiceKind.GENERIC),
        ("", ServiceKind.GENERIC),
    ],
)
def test_a_host_name_tells_the_kind(host: str, kind: ServiceKind) -> None:
    assert kind_of(host) is kind
