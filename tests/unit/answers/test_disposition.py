"""What each answer means for each instance of its batch: DESIGN section 3 as a table (I2, I3).

A is the instance a row is about; B travels with it. `judge` asks for the control exactly where the daemon does.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.values import AZURE, GENERIC, OTHER_SHA, SHA, answer, batch, deferral, fail, instance, ref, response
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.answer import Answer, Failed, Loss, Referenced
from ingestd.core.answers.disposition import HOLDS_LIMIT, dispose, wants_control
from ingestd.core.answers.failure_reasons import meaning
from ingestd.core.answers.fault import control_passed, hold_for, trouble_with
from ingestd.core.answers.outcome import (
    AlreadyStored,
    Disposition,
    Hold,
    HoldCause,
    Isolate,
    Quarantine,
    Resettle,
    Retry,
    SendAgain,
    Stored,
    StoredWithWarning,
    Verify,
)
from ingestd.core.answers.profiles import Profile
from ingestd.core.answers.proof import Proof
from ingestd.core.answers.reasons import Reason
from ingestd.core.model import Asked, Batch, Wait

A, B = "1.1", "1.2"
ALONE = batch(instance(A))
PAIR = batch(instance(A), instance(B))
TROUBLED = deferral(Wait.REQUEST_TROUBLE)
PAIR_AGAIN = batch(instance(A), instance(B, history=TROUBLED))
ALONE_AGAIN = batch(instance(A, history=TROUBLED))

WELL = Answer(status=204)
UNWELL = Answer(status=403)


NEW = Stored(proof=Proof.NEW)
UNNAMED = Verify(asked=Asked.UNNAMED)
REFUSED = Verify(asked=Asked.REFUSED)


def judge(
    of: Batch, said: Answer, control: Answer = WELL, *, normal: int | None = None, profile: Profile = AZURE
) -> tuple[Disposition, ...]:
    """As the daemon judges it; the control passes unless it is given."""
    return dispose(of, said, control=control if wants_control(of, said) else None, normal=normal, profile=profile)


def rejected(status: int, reason: int, comment: str | None = None) -> Quarantine:
    return Quarantine(
        reason=Reason.REJECTED,
        text=f"the service rejected this instance: {meaning(reason)} (FailureReason {reason})",
        what_to_do="read the service's words in `comment`, correct the file at its source and drop it again",
        http_status=status,
        failure_reason=reason,
        comment=comment,
        by_service=True,
    )


# A readable response is read instance by instance whatever the status.


@pytest.mark.parametrize("status", [200, 202, 204, 400, 401, 409, 413, 429, 500, 502, 503])
@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (ref(A), NEW),
        (ref(A, warning=45063), StoredWithWarning(proof=Proof.NEW, warning_reason=45063)),
        (ref(A, warning=1), StoredWithWarning(proof=Proof.NEW, warning_reason=1)),
        (fail(A, 45070), Verify(asked=Asked.HELD)),
        (fail(A, 0x0111), Verify(asked=Asked.HELD)),
        (ref(A, warning=0xB000), Verify(asked=Asked.NAMED, warning_reason=0xB000)),
        (ref(A, warning=0xB006), Verify(asked=Asked.NAMED, warning_reason=0xB006)),
        (ref(A, warning=999), Verify(asked=Asked.NAMED, warning_reason=999)),
        (fail(A, 45071, comment="wait"), Retry(wait=Wait.CREATING, failure_reason=45071, comment="wait")),
        (fail(A, 272, comment="full"), Retry(wait=Wait.SERVER_TROUBLE, failure_reason=272, comment="full")),
        (fail(A, 0xA700), Retry(wait=Wait.SERVER_TROUBLE, failure_reason=0xA700)),
        (fail(A, 0xA7FF), Retry(wait=Wait.SERVER_TROUBLE, failure_reason=0xA7FF)),
        (fail(A, 43264, comment="DICOM100"), rejected(0, 43264, "DICOM100")),
        (fail(A, 43265), rejected(0, 43265)),
        (fail(A, 0xA900), rejected(0, 0xA900)),
        (fail(A, 0xC123), rejected(0, 0xC123)),
        (fail(A, 0x0122), rejected(0, 0x0122)),
        (fail(A, 4711), rejected(0, 4711)),
    ],
)
def test_what_the_response_says_of_an_instance_is_taken_whatever_the_status(
    status: int, item: Referenced | Failed, expected: Disposition
) -> None:
    """I2, I3, F51: Orthanc answers a mixed batch with 400, Azure all failures with 409 or 500."""
    if isinstance(expected, Retry | Quarantine):
        expected = replace(expected, http_status=status)
    named = answer(status, item, ref(B))
    assert not wants_control(PAIR, named)
    assert judge(PAIR, named) == (expected, NEW)


def test_stored_wins_where_a_uid_stands_in_both_sequences_and_proves_nothing() -> None:
    """I2, F50: it was sent once in this request, so an answer that says of it both contradicts itself, and is a question."""
    assert judge(ALONE, answer(202, ref(A), fail(A, 45070))) == (Verify(asked=Asked.NAMED),)
    assert judge(PAIR, answer(202, ref(A), ref(B), fail(A, 45070))) == (Verify(asked=Asked.NAMED), NEW)
    assert judge(ALONE, answer(202, ref(A), fail(None, 43264))) == (NEW,)


@pytest.mark.parametrize("items", [(ref(A), ref(A, warning=0xB006)), (ref(A, warning=0xB006), ref(A))])
def test_named_twice_is_no_proof_and_keeps_its_warning(items: tuple[Referenced, Referenced]) -> None:
    """I2, F81: elements discarded, and beside it the same name without a word of that."""
    assert judge(ALONE, answer(200, *items)) == (Verify(asked=Asked.NAMED, warning_reason=0xB006),)


def test_the_retrieve_url_is_kept() -> None:
    url = "https://pacs.test/v2/studies/1/series/2/instances/3"
    plain = Referenced(sop_instance_uid=A, retrieve_url=url)
    warned = Referenced(sop_instance_uid=B, retrieve_url=url, warning_reason=1)
    assert judge(PAIR, answer(202, plain, warned)) == (
        Stored(proof=Proof.NEW, retrieve_url=url),
        StoredWithWarning(proof=Proof.NEW, warning_reason=1, retrieve_url=url),
    )


def test_a_name_proves_nothing_where_the_service_may_have_kept_another() -> None:
    """I2, F81: Orthanc says stored and keeps the old ones. What the item says comes along."""
    url = "https://pacs.test/dicom-web/studies/1/series/2/instances/3"
    said = answer(200, Referenced(sop_instance_uid=A, retrieve_url=url, warning_reason=1), ref(B))
    assert judge(PAIR, said, profile=GENERIC) == (
        Verify(asked=Asked.NAMED, warning_reason=1, retrieve_url=url),
        Verify(asked=Asked.NAMED),
    )


def test_stored_before_all_of_it_was_sent_is_not_stored() -> None:
    """I2, I3, F48, F58: no digest means that not every byte of it went out. Nothing was said against it, so it only waits."""
    early = replace(answer(200, ref(A), ref(B)), digests=(SHA, None))
    assert judge(PAIR, early) == (NEW, Retry(wait=Wait.UNVERIFIED))
    assert judge(PAIR, early, profile=GENERIC) == (Verify(asked=Asked.NAMED), Retry(wait=Wait.UNVERIFIED))


def test_an_unnamed_failure_belongs_to_the_instance_that_was_alone() -> None:
    """F33: Azure names no UID where it can't parse the file."""
    assert judge(ALONE, answer(409, fail(None, 43264))) == (rejected(409, 43264),)


def test_a_failure_of_anothers_uid_is_not_the_instances_that_was_alone() -> None:
    """I3, F50: an answer about others is no answer, so it counts for nothing."""
    apart = (Retry(wait=Wait.APART, http_status=409),)
    assert judge(ALONE, answer(409, fail("9.9", 43264))) == apart
    assert judge(ALONE, answer(409, ref("9.9"))) == apart
    assert judge(ALONE, answer(409, ref("9.9"), fail(None, 43264), fail(None, 43264))) == apart
    assert judge(ALONE, answer(409, ref("9.9"), fail(None, 43264))) == apart
    assert judge(ALONE, answer(202, ref("9.9"), fail(None, 43264))) == (UNNAMED,)
    assert judge(ALONE, answer(409, fail(A, None))) == (REFUSED,)


def test_an_unnamed_failure_in_a_batch_accuses_nobody() -> None:
    """I3: which of the two it was, their next requests show."""
    assert judge(PAIR, answer(409, fail(None, 43264))) == (Isolate(), Isolate())


def test_two_unnamed_failures_for_one_instance_accuse_nobody() -> None:
    said = answer(409, fail(None, 43264), fail(None, 272))
    assert judge(ALONE, said) == (REFUSED,)


def test_a_failure_without_a_reason_is_no_verdict() -> None:
    """I3."""
    said = answer(202, ref(B), fail(A, None))
    assert not wants_control(PAIR, said)
    assert judge(PAIR, said) == (UNNAMED, NEW)
    refused = answer(409, ref(B), fail(A, None))
    assert wants_control(PAIR, refused)
    assert judge(PAIR, refused) == (Isolate(), NEW)


def test_a_uid_that_was_never_sent_stores_nothing() -> None:
    """I2, F50: another's UID is not ours, nor is a longer one that begins alike."""
    assert judge(PAIR, answer(200, ref("9.9"), ref(A + ".1"))) == (UNNAMED, UNNAMED)


# The rows for whole requests, and for what a response leaves unnamed.

REFUSED_ALONE = Wait.REFUSED_ALONE
TROUBLE = Wait.REQUEST_TROUBLE


@pytest.mark.parametrize("status", [400, 402, 405, 409, 410, 411, 414, 415, 417, 422, 431, 451, 499])
@pytest.mark.parametrize(
    ("of", "control", "expected"),
    [
        (PAIR, Answer(status=204), Isolate()),
        (PAIR, Answer(status=200), Isolate()),
        (PAIR, Answer(status=400), Hold(cause=HoldCause.CONTROL)),
        (PAIR, Answer(status=500), Hold(cause=HoldCause.CONTROL)),
        (PAIR, Answer(status=404), Hold(cause=HoldCause.ROUTE)),
        (PAIR, Answer(status=403), Hold(cause=HoldCause.ROLE)),
        (PAIR, Answer(status=503, retry_after=9.0), Hold(cause=HoldCause.BUSY, retry_after=9.0)),
        (PAIR, Answer(loss=Loss.NOT_SENT), Hold(cause=HoldCause.UNREACHABLE)),
        (PAIR, Answer(loss=Loss.TIMEOUT), Hold(cause=HoldCause.UNREACHABLE)),
        (PAIR_AGAIN, Answer(status=204), Isolate()),
        (ALONE, Answer(status=204), "refused alone"),
        (ALONE, Answer(status=400), Hold(cause=HoldCause.CONTROL)),
        (ALONE_AGAIN, Answer(status=204), "refused alone"),
    ],
)
def test_the_control_says_whose_fault_a_refusal_is(
    status: int, of: Batch, control: Answer, expected: Disposition | str
) -> None:
    """I2, I3, F50, F61, F62: without a name in it no status is success, and none is the file's fault by itself.

    Only some refusals can be about what is in a request; of the others no number is a verdict.
    """
    if expected == "refused alone":
        apart = status not in (400, 409, 415, 422)
        refused = REFUSED if status == 409 else Retry(wait=REFUSED_ALONE, http_status=status)
        expected = Retry(wait=Wait.APART, http_status=status) if apart else refused
    assert wants_control(of, answer(status))
    assert judge(of, answer(status), control) == (expected,) * len(of.instances)


LEFT_OUT = deferral(Wait.UNNAMED, attempts=2)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("control", [WELL, UNWELL])
@pytest.mark.parametrize("of", [PAIR, ALONE, batch(instance(A, history=deferral(Wait.UNNAMED)))])
def test_a_2xx_refuses_nothing_and_what_it_leaves_unnamed_is_asked_for(of: Batch, control: Answer, status: int) -> None:
    """I2, I3, F50, F84: no body, another type, a coding that can't be read: "refused" was said of files that it had taken."""
    said = Answer(status=status, comment="<html>")
    assert not wants_control(of, said)
    assert judge(of, said, control) == (Verify(asked=Asked.UNNAMED, comment="<html>"),) * len(of.instances)


@pytest.mark.parametrize(
    ("control", "expected"), [(WELL, Isolate()), (UNWELL, Hold(cause=HoldCause.ROLE))], ids=["well", "unwell"]
)
def test_what_was_left_unnamed_and_is_not_there_is_isolated_the_third_time(
    control: Answer, expected: Disposition
) -> None:
    """F61, F84: one of the others may be why; whether it is the service the control says."""
    again = batch(instance(A), instance(B, history=LEFT_OUT))
    assert wants_control(again, answer(200))
    assert judge(again, answer(200), control) == (expected, expected)
    once = batch(instance(A), instance(B, history=deferral(Wait.UNNAMED)))
    assert judge(once, answer(200), control) == (UNNAMED, UNNAMED)


@pytest.mark.parametrize(
    ("control", "expected"), [(WELL, UNNAMED), (UNWELL, Hold(cause=HoldCause.ROLE))], ids=["well", "unwell"]
)
def test_what_was_left_unnamed_alone_is_asked_for_the_third_time_only_of_a_service_that_is_well(
    control: Answer, expected: Disposition
) -> None:
    """I3, F62, F84: a web server that answers 200 to a POST and 404 to a GET is no service, and no file's fault."""
    again = batch(instance(A, history=LEFT_OUT))
    assert wants_control(again, answer(200))
    assert judge(again, answer(200), control) == (expected,)


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        (400, (Isolate(), Isolate())),
        (204, (Isolate(), Isolate())),
        (415, (Hold(cause=HoldCause.CONTROL),) * 2),
        (403, (Hold(cause=HoldCause.ROLE),) * 2),
    ],
)
def test_a_service_that_refuses_an_empty_post_is_known_by_that(control: int, expected: tuple[Disposition, ...]) -> None:
    """F61: it did so when it last stored something, so it is well; another answer than that says it is not."""
    assert judge(PAIR, answer(400), Answer(status=control), normal=400) == expected


def test_a_refusal_whose_control_is_missing_holds() -> None:
    """I3: what can't be told is never the file's fault."""
    assert dispose(PAIR, answer(400), profile=AZURE) == (Hold(cause=HoldCause.CONTROL),) * 2
    assert dispose(PAIR, Answer(), profile=AZURE) == (Hold(cause=HoldCause.CONTROL),) * 2


@pytest.mark.parametrize(
    "said",
    [
        *(answer(status) for status in (500, 502, 501, 507, 511, 520, 599)),
        Answer(loss=Loss.TIMEOUT),
        Answer(loss=Loss.LOST),
    ],
    ids=lambda said: str(said.status or said.loss),
)
@pytest.mark.parametrize(
    ("of", "asks", "control", "expected"),
    [
        (PAIR, False, WELL, "retry"),
        (PAIR_AGAIN, True, WELL, "isolate"),
        (PAIR_AGAIN, True, UNWELL, "retry"),
        (ALONE, False, WELL, "retry"),
        (ALONE_AGAIN, False, WELL, "retry"),
    ],
)
def test_trouble_is_waited_out_and_the_second_time_isolated_while_the_service_is_well(
    said: Answer, of: Batch, asks: bool, control: Answer, expected: str
) -> None:
    """I3, F39, F49: a full disk of the service's (507) or a lost connection is no file's fault."""
    disposition = Isolate() if expected == "isolate" else Retry(wait=TROUBLE, http_status=said.status)
    assert wants_control(of, said) is asks
    assert judge(of, said, control) == (disposition,) * len(of.instances)
    if of is ALONE_AGAIN:
        assert dispose(of, said, control=WELL, profile=AZURE) == (disposition,)


@pytest.mark.parametrize(("status", "wait"), [(400, REFUSED_ALONE), (500, TROUBLE)])
def test_the_services_own_words_come_along(status: int, wait: Wait) -> None:
    """The reason file quotes them, should patience end."""
    said = Answer(status=status, comment="out of order")
    assert judge(ALONE, said) == (Retry(wait=wait, http_status=status, comment="out of order"),)


def test_trouble_that_names_everyone_asks_for_nothing() -> None:
    assert not wants_control(PAIR_AGAIN, answer(500, ref(A), ref(B)))


def test_trouble_of_another_kind_before_does_not_ask_for_the_control() -> None:
    past = batch(instance(A, history=deferral(Wait.CREATING)), instance(B))
    assert not wants_control(past, answer(500))


@pytest.mark.parametrize("control", [WELL, UNWELL])
def test_a_request_that_is_too_large_is_split_down_to_the_file_itself(control: Answer) -> None:
    """F60."""
    too_large = Answer(status=413, comment="limit 100")
    assert not wants_control(PAIR, too_large)
    assert judge(PAIR, too_large, control) == (Isolate(), Isolate())
    (alone,) = judge(ALONE, too_large, control)
    assert isinstance(alone, Quarantine)
    assert (alone.reason, alone.http_status, alone.comment, alone.by_service) == (
        Reason.TOO_LARGE,
        413,
        "limit 100",
        True,
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (answer(403), Hold(cause=HoldCause.ROLE, counts=True)),
        (answer(404), Hold(cause=HoldCause.ROUTE, counts=True)),
        (answer(406), Hold(cause=HoldCause.ROUTE, counts=True)),
        (answer(424), Hold(cause=HoldCause.DEPENDENCY, counts=True)),
        (answer(300), Hold(cause=HoldCause.ROUTE, counts=True)),
        (answer(301), Hold(cause=HoldCause.ROUTE, counts=True)),
        (answer(307), Hold(cause=HoldCause.ROUTE, counts=True)),
        (answer(399), Hold(cause=HoldCause.ROUTE, counts=True)),
        (answer(408), Hold(cause=HoldCause.BUSY, counts=True)),
        (answer(429, retry_after=7.0), Hold(cause=HoldCause.BUSY, retry_after=7.0)),
        (answer(503, retry_after=1e9), Hold(cause=HoldCause.BUSY, retry_after=1e9, counts=True)),
        (answer(504), Hold(cause=HoldCause.BUSY, counts=True)),
        (Answer(loss=Loss.NOT_SENT, comment="name"), Hold(cause=HoldCause.UNREACHABLE, problem="name")),
        (Answer(loss=Loss.NOT_SENT), Hold(cause=HoldCause.UNREACHABLE)),
    ],
    ids=lambda value: str(value.status or value.loss) if isinstance(value, Answer) else "",
)
@pytest.mark.parametrize("of", [ALONE, PAIR, ALONE_AGAIN, PAIR_AGAIN])
def test_no_file_answers_for_the_service_the_role_or_the_network(of: Batch, said: Answer, expected: Hold) -> None:
    """I3, F47, F48, F52, F53, F62. 401 has tests of its own."""
    assert hold_for(said) == expected
    assert not wants_control(of, said)
    assert judge(of, said) == (expected,) * len(of.instances)


@pytest.mark.parametrize("said", [answer(200), answer(400), answer(500), answer(413), Answer(loss=Loss.TIMEOUT)])
def test_other_answers_are_no_reason_to_hold_by_themselves(said: Answer) -> None:
    assert hold_for(said) is None


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (Answer(status=500), HoldCause.BUSY),
        (Answer(loss=Loss.TIMEOUT), HoldCause.UNREACHABLE),
        (Answer(loss=Loss.LOST, problem="no HTTP/1.1"), HoldCause.UNREACHABLE),
        (Answer(loss=Loss.FILE_CHANGED), None),  # ours
        (Answer(loss=Loss.NOT_SENT), None),  # a hold, which says it
        (Answer(status=503), None),
        (Answer(status=200), None),
        (Answer(status=409), None),
    ],
)
def test_what_comes_to_nothing_and_is_no_hold_is_trouble_to_tell(said: Answer, cause: HoldCause | None) -> None:
    """An operator sees why files are sent again and again; our own words go with it."""
    found = trouble_with(said)
    assert (found.cause if found else None) == cause
    assert found is None or (found.status, found.loss, found.problem) == (said.status, said.loss, said.problem)


IDENTITY = Hold(cause=HoldCause.IDENTITY)


@pytest.mark.parametrize(
    "of", [ALONE, PAIR, ALONE_AGAIN, PAIR_AGAIN], ids=["alone", "pair", "alone again", "pair again"]
)
def test_a_401_that_the_control_does_not_draw_is_this_batchs_alone(of: Batch) -> None:
    """F86, I3: a large upload whose token runs out, or a gateway's limit: the batch waits, whole, and nobody else does."""
    n = len(of.instances)
    assert hold_for(answer(401)) == IDENTITY
    assert wants_control(of, answer(401))
    assert judge(of, answer(401)) == (Retry(wait=Wait.APART, http_status=401),) * n
    assert judge(of, answer(401), Answer(status=400), normal=400) == (Retry(wait=Wait.APART, http_status=401),) * n


@pytest.mark.parametrize(
    "control",
    [answer(401), answer(403), answer(400), answer(503), Answer(loss=Loss.NOT_SENT), Answer(loss=Loss.TIMEOUT)],
)
@pytest.mark.parametrize("of", [ALONE, PAIR], ids=["alone", "pair"])
def test_a_401_that_the_control_draws_too_holds(of: Batch, control: Answer) -> None:
    """I3, F63: the service does not know us, or nobody can tell; it counts against no file."""
    assert judge(of, answer(401), control) == (IDENTITY,) * len(of.instances)
    assert dispose(of, answer(401), profile=AZURE) == (IDENTITY,) * len(of.instances)


def test_a_401_that_names_everyone_asks_for_nothing() -> None:
    """F51: what it names is taken; only what it does not name waits apart."""
    assert not wants_control(PAIR, answer(401, ref(A), ref(B)))
    assert judge(PAIR, answer(401, ref(A))) == (NEW, Retry(wait=Wait.APART, http_status=401))


# A gateway that refuses one file with a Hold answer must not stop the rest.


def held(*times: int) -> Batch:
    """A batch whose instances drew so many Hold answers before."""
    return batch(*(instance(f"1.{n}", holds=holds) for n, holds in enumerate(times, 1)))


COUNTING = [300, 307, 399, 403, 404, 406, 408, 424, 503, 504]


@pytest.mark.parametrize("status", COUNTING)
@pytest.mark.parametrize(
    ("of", "asks"),
    [
        (held(0), False),
        (held(1), False),
        (held(2), True),
        (held(7), True),
        (held(1, 1), False),
        (held(2, 2), True),
        (held(3, 2), True),
        (held(9, 1), True),
        (held(2, 2, 0), True),
        (held(1, 0, 1), False),
    ],
    ids=lambda value: str([i.holds for i in value.instances]) if isinstance(value, Batch) else "",
)
def test_the_third_hold_for_one_of_a_batch_asks_whose_fault_it_is(of: Batch, asks: bool, status: int) -> None:
    """I3, I8, F61: the control passes: it is something in the batch; alone, it waits, and only a 5xx is trouble that counts."""
    said = answer(status, retry_after=7.0)
    n = len(of.instances)
    hold = hold_for(said)
    assert hold is not None
    assert HOLDS_LIMIT == 3
    assert wants_control(of, said) is asks
    if asks:
        wait = TROUBLE if status >= 500 else Wait.APART
        isolated = Isolate() if n > 1 else Retry(wait=wait, http_status=status)
        assert judge(of, said) == (isolated,) * n
        assert judge(of, said, UNWELL) == (hold,) * n
        assert dispose(of, said, profile=AZURE) == (hold,) * n
    else:
        assert judge(of, said) == dispose(of, said, control=WELL, profile=AZURE) == (hold,) * n


APART = deferral(Wait.APART)


@pytest.mark.parametrize("status", COUNTING)
def test_what_waited_apart_before_holds_nobody_up_when_it_comes_again(status: int) -> None:
    """I8, F61: it would pause the rest three times each quarter of an hour."""
    alone, pair = batch(instance(A, history=APART)), batch(instance(A), instance(B, history=APART))
    wait = TROUBLE if status >= 500 else Wait.APART
    assert wants_control(alone, answer(status))
    assert judge(alone, answer(status)) == (Retry(wait=wait, http_status=status),)
    assert judge(alone, answer(status), UNWELL) == (hold_for(answer(status)),)
    assert judge(pair, answer(status)) == (Isolate(), Isolate())


@pytest.mark.parametrize("said", [answer(429), Answer(loss=Loss.NOT_SENT)])
@pytest.mark.parametrize("of", [held(9), held(9, 9), batch(instance(A, history=APART))])
def test_throttling_and_silence_never_accuse_a_batch(of: Batch, said: Answer) -> None:
    """I3, F47, F52: however often."""
    assert not wants_control(of, said)
    assert dispose(of, said, control=WELL, profile=AZURE) == (hold_for(said),) * len(of.instances)


def test_a_hold_that_names_everyone_asks_for_nothing() -> None:
    assert not wants_control(held(2, 2), answer(503, ref("1.1"), fail("1.2", 43264)))
    assert judge(held(2, 2), answer(503, ref("1.1"))) == (NEW, Isolate())


def test_holds_before_make_nothing_else_graver() -> None:
    """I3."""
    assert not wants_control(held(9, 9), answer(500))
    assert judge(held(9, 9), answer(500)) == (Retry(wait=TROUBLE, http_status=500),) * 2
    assert judge(held(9), answer(400)) == (Retry(wait=REFUSED_ALONE, http_status=400),)


def test_a_hold_of_the_controls_own_counts_against_no_batch() -> None:
    """I3: the file was refused, the service is at fault."""
    assert judge(PAIR, answer(400), Answer(status=503)) == (Hold(cause=HoldCause.BUSY, counts=False),) * 2


def test_a_control_that_could_not_be_sent_says_why() -> None:
    unsent = Answer(loss=Loss.NOT_SENT, comment="the token is gone")
    assert judge(PAIR, answer(400), unsent)[0] == Hold(cause=HoldCause.UNREACHABLE, problem="the token is gone")


REPLACING = batch(instance(A, replacing=True))


def test_a_service_that_can_not_replace_leaves_the_conflict_to_a_person() -> None:
    """I3, F36, F85: it has neither PUT nor DELETE; a conflict like others, so the brake counts it."""
    said = answer(405)
    assert not wants_control(REPLACING, said)
    (verdict,) = judge(REPLACING, said)
    assert isinstance(verdict, Quarantine)
    assert (verdict.reason, verdict.http_status, verdict.by_service) == (Reason.CONFLICT, 405, True)
    assert "neither PUT nor DELETE" in verdict.text


@pytest.mark.parametrize("status", [400, 404, 406, 409, 500])
def test_any_other_answer_to_a_replacement_is_read_as_to_any_request(status: int) -> None:
    assert judge(REPLACING, answer(status)) == judge(ALONE, answer(status))
    assert wants_control(REPLACING, answer(status)) is wants_control(ALONE, answer(status))


def test_a_refused_replacement_is_no_verdict_on_what_travels_with_it() -> None:
    """I3."""
    both = batch(instance(A, replacing=True), instance(B))
    assert wants_control(both, answer(405))
    assert judge(both, answer(405)) == (Isolate(), Isolate())


def test_what_a_replacement_names_is_compared_by_bytes_whatever_the_status() -> None:
    """I2: a service may say stored and keep the old ones, and that it held others was shown just now."""
    assert judge(REPLACING, answer(405, ref(A))) == (Verify(asked=Asked.NAMED),)
    assert judge(REPLACING, replace(answer(200, ref(A)), deleted=True)) == (NEW,)


def test_a_verdict_after_the_old_instance_was_deleted_says_so() -> None:
    """F89, I3: the operator must know that the service holds neither; one that holds another again holds that."""
    (said,) = judge(REPLACING, replace(answer(409, fail(A, 43264)), deleted=True))
    assert isinstance(said, Quarantine)
    told = said.after_delete()
    assert told.text.startswith(said.text)
    assert told.text.endswith("was deleted to make room, so it holds neither now")
    assert replace(told, text=said.text) == said
    assert replace(said, reason=Reason.CONFLICT).after_delete().text.endswith("was deleted to make room")
    assert judge(REPLACING, replace(answer(503), deleted=True)) == judge(REPLACING, answer(503))


def test_a_response_that_names_some_leaves_the_rest_to_the_status() -> None:
    """F51: 503 after the first of two; 202 that forgets one."""
    assert judge(PAIR, answer(503, ref(A))) == (NEW, Hold(cause=HoldCause.BUSY, counts=True))
    assert judge(PAIR, answer(202, ref(A))) == (NEW, UNNAMED)
    assert judge(PAIR, answer(400, ref(A))) == (NEW, Isolate())
    assert judge(PAIR, answer(500, ref(A))) == (NEW, Retry(wait=TROUBLE, http_status=500))
    assert judge(PAIR_AGAIN, answer(500, ref(A))) == (NEW, Isolate())
    assert judge(PAIR_AGAIN, answer(500, ref(A), ref(B))) == (NEW, NEW)


def test_a_file_that_changed_is_looked_at_anew_whatever_the_service_said() -> None:
    """I4, F19, F58: the others of its request go again, and nothing counts against them."""
    broken_off = Answer(loss=Loss.FILE_CHANGED, changed=(1,))
    assert not wants_control(PAIR, broken_off)
    assert not wants_control(PAIR_AGAIN, Answer(loss=Loss.FILE_CHANGED))
    assert judge(PAIR, broken_off) == (SendAgain(), Resettle())
    assert judge(PAIR, replace(answer(200, ref(A), ref(B)), changed=(0,))) == (Resettle(), NEW)
    unnamed = replace(answer(200, ref(B)), changed=(0,))
    assert not wants_control(PAIR, unnamed)
    assert judge(PAIR, unnamed) == (Resettle(), NEW)
    assert not wants_control(PAIR, replace(answer(200, ref(B)), changed=(0,)))


def test_a_changed_file_that_nobody_names_can_be_any_of_them() -> None:
    """I8: sent again unseen, the batch would go round for ever."""
    assert judge(PAIR, Answer(loss=Loss.FILE_CHANGED)) == (Resettle(), Resettle())


@pytest.mark.parametrize(
    ("control", "passed"),
    [(200, True), (202, True), (204, True), (302, False), (400, False), (401, False), (500, False), (503, False)],
)
def test_the_control_passes_with_a_2xx_where_nothing_is_known(control: int, passed: bool) -> None:
    assert control_passed(Answer(status=control)) is passed


@pytest.mark.parametrize("normal", [200, 204, 400])
@pytest.mark.parametrize("control", [200, 202, 204, 302, 400, 401, 500, 503])
def test_the_control_passes_as_it_did_when_the_service_was_last_seen_well(control: int, normal: int) -> None:
    """F61: a service that refuses an empty POST is well when it refuses it; a 2xx is as good, for services are upgraded."""
    assert control_passed(Answer(status=control), normal) is (control in (200, 202, 204) or control == normal)


@pytest.mark.parametrize("normal", [None, 200])
@pytest.mark.parametrize(
    ("said", "passed"),
    [
        (Answer(status=200, comment="<html>sign in</html>"), False),
        (Answer(status=200, comment=""), True),
        (Answer(status=200, response=response()), True),
        (Answer(status=200, response=response(), comment="{}"), True),
    ],
)
def test_a_login_page_is_not_the_service(said: Answer, normal: int | None, passed: bool) -> None:
    """I2, F53: a 2xx with a body that says nothing of DICOM."""
    assert control_passed(said, normal) is passed


@pytest.mark.parametrize(("status", "passed"), [(300, True), (299, False), (199, True)])
def test_the_words_of_a_refusal_that_was_learnt_do_not_matter(status: int, passed: bool) -> None:
    assert control_passed(Answer(status=status, comment="no parts"), status) is passed


@pytest.mark.parametrize("normal", [None, 200, 400])
def test_a_lost_control_has_not_passed(normal: int | None) -> None:
    assert not control_passed(Answer(loss=Loss.TIMEOUT), normal)


# What holds for every answer.

uids = st.sampled_from(["1.1", "1.2", "1.3", "1.4"])
reasons = st.sampled_from([None, 0, 272, 0x0122, 0xA700, 43264, 45070, 45071, 65535])
waits = st.none() | st.sampled_from(Wait).map(deferral)
responses = st.builds(
    lambda items: response(*items),
    st.lists(
        st.builds(ref, uids, warning=st.sampled_from([None, 1])) | st.builds(fail, st.none() | uids, reasons),
        max_size=6,
    ),
)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    chosen = draw(st.lists(uids, min_size=1, unique=True))
    return batch(*(instance(uid, history=draw(waits), holds=draw(st.integers(0, 4))) for uid in chosen))


@st.composite
def answers(draw: st.DrawFn, of: Batch) -> Answer:
    n = len(of.instances)
    status = draw(st.integers(100, 599) | st.sampled_from([200, 202, 400, 409, 413, 429, 500, 503]))
    digests = draw(st.just(()) | st.tuples(*[st.sampled_from([SHA, OTHER_SHA, None])] * n))
    changed = tuple(draw(st.sets(st.integers(0, n - 1), max_size=1)))
    if loss := draw(st.none() | st.sampled_from(Loss)):
        return Answer(loss=loss, digests=digests, changed=changed)
    return Answer(status=status, response=draw(st.none() | responses), digests=digests, changed=changed)


controls = st.builds(lambda status: Answer(status=status), st.integers(100, 599)) | st.builds(
    lambda loss: Answer(loss=loss), st.sampled_from([Loss.NOT_SENT, Loss.TIMEOUT, Loss.LOST])
)


@given(data=st.data(), of=batches(), control=controls)
def test_every_instance_gets_one_disposition_and_the_grave_ones_only_when_named(
    data: st.DataObject, of: Batch, control: Answer
) -> None:
    """I2, I3: stored only what the response names as stored; judged only what it names as failed, or what alone is too large."""
    said = data.draw(answers(of))
    named = {r.sop_instance_uid for r in said.response.referenced} if said.response else set()
    blamed = said.response.failed if said.response else ()
    got = judge(of, said, control)
    assert len(got) == len(of.instances)
    for n, (one, disposition) in enumerate(zip(of.instances, got, strict=True)):
        match disposition:
            case Stored() | StoredWithWarning():
                assert one.sop_instance_uid in named
                assert n not in said.changed
            case Quarantine(reason=Reason.REJECTED, failure_reason=reason):
                assert any(
                    f.failure_reason == reason and f.sop_instance_uid in (one.sop_instance_uid, None) for f in blamed
                )
                assert one.sop_instance_uid not in named
            case Quarantine(reason=reason):
                assert (reason, said.status, len(of.instances)) == (Reason.TOO_LARGE, 413, 1)
            case AlreadyStored():
                pytest.fail("only a question shows that")
            case Isolate():
                assert len(of.instances) > 1
            case _:
                pass


@given(data=st.data(), of=batches())
def test_the_control_is_asked_for_exactly_where_it_decides(data: st.DataObject, of: Batch) -> None:
    """I3: it costs a request; and where it is not asked, nobody is held for want of it."""
    said = data.draw(answers(of))
    if wants_control(of, said):
        assert dispose(of, said, control=WELL, profile=AZURE) != dispose(of, said, control=UNWELL, profile=AZURE)
    else:
        assert Hold(cause=HoldCause.CONTROL) not in dispose(of, said, profile=AZURE)


@given(data=st.data(), of=batches(), control=controls)
def test_a_profile_touches_nothing_but_what_a_name_proves(data: st.DataObject, of: Batch, control: Answer) -> None:
    """I2, F81."""
    said = data.draw(answers(of))
    strict = judge(of, said, control, profile=GENERIC)
    for mine, theirs in zip(judge(of, said, control), strict, strict=True):
        if isinstance(mine, Stored | StoredWithWarning):
            assert isinstance(theirs, Verify)
            assert theirs.asked is Asked.NAMED
        else:
            assert mine == theirs
