"""What the service did not have before something was sent to it (I2, F81: half of the proof ASKED)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.values import batch, instance

from ingestd.core.answers.answer import Listed
from ingestd.core.answers.presence import ASK_AGAIN_SECONDS, KNOWN_SECONDS, Presence, Unknown
from ingestd.core.model import Instance

A, B = instance("1.1"), instance("1.2")
STUDY, SERIES = A.ids.study_uid, A.ids.series_uid
ALL = Unknown(study_uid=STUDY, series_uids=(SERIES,))
NO_STUDY = Listed(answered=True, absent=True)
HAS_B = Listed(answered=True, series={SERIES: frozenset({"1.2"})})


def sent(presence: Presence, *instances: Instance, listed: Listed = NO_STUDY, now: float = 0.0) -> None:
    """As the daemon does it: what is unknown is asked while the batch waits."""
    unknown = presence.unknown(batch(*instances), now=now)
    presence.sending(instances)
    if unknown is not None:
        presence.learn(unknown, listed, now=now)


def test_a_study_that_is_not_known_has_none_of_its_instances() -> None:
    presence = Presence(wanted=True)
    assert presence.unknown(batch(A, B), now=0.0) == ALL
    sent(presence, A, B)
    assert presence.was_absent(A)
    assert presence.was_absent(B)
    assert presence.unknown(batch(instance("1.3")), now=1.0) is None


def test_in_a_study_that_is_known_the_list_of_the_series_decides() -> None:
    presence = Presence(wanted=True)
    sent(presence, A, B, listed=HAS_B)
    assert presence.was_absent(A)
    assert not presence.was_absent(B)


def test_a_series_that_was_not_listed_to_its_end_says_nothing() -> None:
    """Three values stay three."""
    presence = Presence(wanted=True)
    sent(presence, A, listed=Listed(answered=True))
    assert not presence.was_absent(A)
    assert presence.unknown(batch(A), now=1.0) == ALL


def test_a_question_without_an_answer_says_nothing_and_is_not_asked_of_every_batch() -> None:
    """I8: while no search was ever answered, one a minute."""
    presence = Presence(wanted=True)
    sent(presence, A, listed=Listed(answered=False))
    assert not presence.was_absent(A)
    assert presence.unknown(batch(A), now=ASK_AGAIN_SECONDS - 1) is None
    assert presence.unknown(batch(A), now=ASK_AGAIN_SECONDS) == ALL


def test_other_bytes_that_were_sent_since_end_it() -> None:
    """I2: answered or not, they may have arrived."""
    presence = Presence(wanted=True)
    sent(presence, A)
    other = replace(A, path="other.dcm")
    sent(presence, other)
    assert not presence.was_absent(other)
    assert not presence.was_absent(A)


@pytest.mark.parametrize("change", ["size", "mtime_ns", "ctime_ns", "inode"])
def test_another_state_of_the_file_is_other_bytes(change: str) -> None:
    presence = Presence(wanted=True)
    sent(presence, A)
    assert not presence.was_absent(replace(A, stamp=replace(A.stamp, **{change: 7})))


def test_the_same_bytes_may_be_sent_again() -> None:
    """F57: the first answer may have been lost."""
    presence = Presence(wanted=True)
    sent(presence, A)
    sent(presence, A)
    assert presence.was_absent(A)


def test_what_was_never_sent_was_not_absent_before() -> None:
    presence = Presence(wanted=True)
    sent(presence, A)
    assert not presence.was_absent(B)
    assert not presence.was_absent(instance("9.1", study="9"))


def test_what_is_known_is_asked_for_anew_after_ten_minutes() -> None:
    """I2: others store there, too."""
    presence = Presence(wanted=True)
    sent(presence, A)
    assert presence.unknown(batch(B), now=KNOWN_SECONDS) is None
    sent(presence, B, listed=HAS_B, now=KNOWN_SECONDS + 1)
    assert not presence.was_absent(B)


def test_a_service_whose_word_is_proof_is_not_asked() -> None:
    presence = Presence(wanted=False)
    sent(presence, A)
    assert not presence.was_absent(A)
    assert presence.unknown(batch(A), now=0.0) is None


def test_what_is_remembered_is_bounded_and_what_was_forgotten_is_asked_for_anew() -> None:
    """I8."""
    presence = Presence(wanted=True, most=20)
    studies = [[instance(f"{n}.{i}", study=str(n)) for i in range(5)] for n in range(10)]
    for instances in studies:
        sent(presence, *instances)
    assert presence.was_absent(studies[-1][0])
    assert not presence.was_absent(studies[0][0])
    assert presence.unknown(batch(*studies[0]), now=0.0) is not None


def test_a_batch_of_several_studies_asks_for_the_first() -> None:
    """`batch.by = any`."""
    other = instance("2.1", study="2")
    presence = Presence(wanted=True)
    sent(presence, A, other)
    assert presence.was_absent(A)
    assert not presence.was_absent(other)
