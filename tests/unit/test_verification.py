"""What reading an instance back shows: the service says that it holds it, and was asked to prove it (I2; DESIGN 3, Verify)."""

from __future__ import annotations

import pytest
from fakes.values import OTHER_SHA, SHA, instance, receipt

from ingestd.core.answer import Fetched, Held, Loss
from ingestd.core.model import Wait
from ingestd.core.outcome import AlreadyStored, Disposition, Hold, HoldCause, Quarantine, Reason, Retry, Stored
from ingestd.core.record import Receipt
from ingestd.core.verification import dispose_fetched, dispose_held, receipt_speaks

ONE = instance("1.1")
OWN: dict[str, tuple[str, ...]] = {"00080018": ("1.1",), "00100020": ("P1",), "00200013": ("7",)}
UNVERIFIED = Wait.UNVERIFIED
RECEIPT = receipt(ONE)


ALIKE = AlreadyStored(same_bytes=False)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (Held(status=404), Retry(wait=UNVERIFIED, http_status=404)),
        (Held(status=403), Retry(wait=UNVERIFIED, http_status=403)),
        (Held(status=406), Retry(wait=UNVERIFIED, http_status=406)),
        (Held(status=400), Retry(wait=UNVERIFIED, http_status=400)),
        (Held(status=500), Retry(wait=UNVERIFIED, http_status=500)),
        (Held(status=204), Retry(wait=UNVERIFIED, http_status=204)),
        (Held(status=200), Retry(wait=UNVERIFIED, http_status=200)),
        (Held(status=None, loss=Loss.TIMEOUT), Retry(wait=UNVERIFIED)),
        (Held(status=None, loss=Loss.NOT_SENT), Hold(cause=HoldCause.UNREACHABLE)),
        (Held(status=401), Hold(cause=HoldCause.IDENTITY)),
        (Held(status=302), Hold(cause=HoldCause.ROUTE)),
        (Held(status=503, retry_after=5.0), Hold(cause=HoldCause.BUSY, retry_after=5.0)),
        *((Held(status=s, elements=OWN), Retry(wait=UNVERIFIED, http_status=s)) for s in (403, 404, 406, 206, 500)),
        (Held(status=200, elements=OWN), ALIKE),
        (Held(status=200, elements={"00080018": ("1.1",)}), ALIKE),
        (Held(status=200, elements={}), Retry(wait=UNVERIFIED, http_status=200)),
        (Held(status=200, elements={"00091001": ("x",)}), Retry(wait=UNVERIFIED, http_status=200)),
    ],
)
def test_only_the_services_own_words_show_that_it_holds_an_instance(held: Held, expected: Disposition) -> None:
    """I2, F51: absent elements are no evidence, and where nothing can be compared nothing was shown."""
    assert dispose_held(held, sha256=SHA, receipt=None, own=OWN) == expected


@pytest.mark.parametrize("status", [404, 403, 406, 500, 204, 200])
def test_a_receipt_never_stands_for_the_services_word(status: int) -> None:
    """I2: it may have been deleted since, and a 200 that can not be read shows nothing."""
    assert dispose_held(Held(status=status), sha256=SHA, receipt=RECEIPT, own=None) == Retry(
        wait=UNVERIFIED, http_status=status
    )


def test_elements_that_differ_are_a_conflict_that_names_their_tags_and_no_value() -> None:
    """I7, F36."""
    held = Held(status=200, elements={**OWN, "00100020": ("P2",), "00200013": ("8",)})
    conflict = dispose_held(held, sha256=SHA, receipt=None, own=OWN)
    assert isinstance(conflict, Quarantine)
    assert (conflict.reason, conflict.http_status, conflict.by_service) == (Reason.CONFLICT, 200, True)
    assert conflict.text == "the service holds another file under the same UIDs in (0010,0020), (0020,0013)"


def test_many_differences_stay_one_short_line() -> None:
    own: dict[str, tuple[str, ...]] = {f"0010{n:04x}": ("a",) for n in range(100)}
    conflict = dispose_held(Held(status=200, elements=dict.fromkeys(own, ("b",))), sha256=SHA, receipt=None, own=own)
    assert isinstance(conflict, Quarantine)
    assert conflict.text.endswith("(0010,0006), (0010,0007)")


HELD = Held(status=200, elements=OWN)


@pytest.mark.parametrize(
    ("sha256", "known", "own", "expected"),
    [
        (SHA, SHA, None, AlreadyStored()),
        (SHA, OTHER_SHA, None, "conflict"),
        (SHA, OTHER_SHA, OWN, "conflict"),
        (None, SHA, None, Retry(wait=UNVERIFIED, http_status=200)),
        (None, SHA, OWN, ALIKE),
        (SHA, "", None, Retry(wait=UNVERIFIED, http_status=200)),
        (SHA, "", OWN, ALIKE),
    ],
)
def test_a_receipt_compares_bytes_where_both_digests_are_known(
    sha256: str | None, known: str, own: dict[str, tuple[str, ...]] | None, expected: Disposition | str
) -> None:
    """I3, F36: a digest that is not known is no other digest."""
    got = dispose_held(HELD, sha256=sha256, receipt=receipt(ONE, sha256=known), own=own)
    if expected == "conflict":
        assert isinstance(got, Quarantine)
        assert got.reason is Reason.CONFLICT
        assert got.text == "the service holds another file under the same UIDs"
    else:
        assert got == expected


def test_nothing_to_compare_with_proves_nothing() -> None:
    assert dispose_held(HELD, sha256=SHA, receipt=None, own=None) == Retry(wait=UNVERIFIED, http_status=200)


@pytest.mark.parametrize(
    ("known", "sha256", "speaks"),
    [
        (RECEIPT, SHA, True),
        (RECEIPT, OTHER_SHA, True),
        (RECEIPT, None, False),
        (receipt(ONE, sha256=""), SHA, False),
        (None, SHA, False),
    ],
)
def test_a_receipt_speaks_where_both_digests_are_known(known: Receipt | None, sha256: str | None, speaks: bool) -> None:
    """The file is read for its elements only where none speaks."""
    assert receipt_speaks(known, sha256) is speaks


# By bytes.


@pytest.mark.parametrize(
    ("fetched", "sha256", "expected"),
    [
        (Fetched(status=200, sha256=SHA), SHA, "proved"),
        (Fetched(status=200, sha256=OTHER_SHA), SHA, "conflict"),
        (Fetched(status=200), SHA, Retry(wait=UNVERIFIED, http_status=200)),
        (Fetched(status=200, sha256=SHA), None, Retry(wait=UNVERIFIED, http_status=200)),
        (Fetched(status=200), None, Retry(wait=UNVERIFIED, http_status=200)),
        (Fetched(status=404), SHA, Retry(wait=UNVERIFIED, http_status=404)),
        (Fetched(status=404, sha256=SHA), SHA, Retry(wait=UNVERIFIED, http_status=404)),
        (Fetched(status=403), SHA, Retry(wait=UNVERIFIED, http_status=403)),
        (Fetched(status=406), SHA, Retry(wait=UNVERIFIED, http_status=406)),
        (Fetched(status=500), SHA, Retry(wait=UNVERIFIED, http_status=500)),
        (Fetched(status=206, sha256=SHA), SHA, Retry(wait=UNVERIFIED, http_status=206)),
        (Fetched(status=None, loss=Loss.LOST), SHA, Retry(wait=UNVERIFIED)),
        (Fetched(status=None, loss=Loss.NOT_SENT), SHA, Hold(cause=HoldCause.UNREACHABLE)),
        (Fetched(status=401), SHA, Hold(cause=HoldCause.IDENTITY)),
        (Fetched(status=307), SHA, Hold(cause=HoldCause.ROUTE)),
        (Fetched(status=503, retry_after=5.0), SHA, Hold(cause=HoldCause.BUSY, retry_after=5.0)),
    ],
)
@pytest.mark.parametrize(("named", "proved"), [(True, Stored()), (False, AlreadyStored())])
def test_the_bytes_that_the_service_holds_decide(
    fetched: Fetched, sha256: str | None, expected: Disposition | str, named: bool, proved: Disposition
) -> None:
    """I2, I3, F36: the same are stored, now or before; others are a conflict; what was not read whole shows nothing."""
    got = dispose_fetched(fetched, sha256=sha256, named=named)
    if expected == "conflict":
        assert isinstance(got, Quarantine)
        assert (got.reason, got.http_status, got.by_service) == (Reason.CONFLICT, 200, True)
        assert got.text == "the service holds another file under the same UIDs"
    else:
        assert got == (proved if expected == "proved" else expected)
