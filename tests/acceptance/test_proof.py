"""done/ means that these bytes are there: old receipts, metadata that spell a value otherwise, and one refused series (DESIGN 3a).

What one answer means for one file stands in test_answers.py; here a service changes, or is asked, after something was stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest
from fakes.bodies_fake import data_set
from fakes.hostile_server import hostile
from fakes.house import House, held_by
from fakes.scripted_origin import Behaviour, ScriptedOrigin, Turn, good, judges, shows
from fakes.studies import made, studies

MakeHouse = Callable[..., House]
AS_IT_WAS = made(1)
CORRECTED = made(1, patient_id="ID2")  # the same UIDs


def puts_in_its_place(url: str, ids: tuple[str, str, str], content: bytes) -> None:
    """Another machine's correction, with no word to the daemon."""
    study, series, instance = ids
    deleted = httpx.delete(f"{url}/studies/{study}/series/{series}/instances/{instance}", trust_env=False)
    assert deleted.status_code == 204
    headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    stored = httpx.post(f"{url}/studies", content=content, headers=headers, trust_env=False)
    assert stored.status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("action", ["move", "delete"])
def test_a_receipt_does_not_outweigh_what_the_service_shows(house: MakeHouse, service: str, action: str) -> None:
    """I1, I2, F79: it holds another patient's image now; the file was filed as already stored, and with delete was nowhere."""
    home = house(service, INGESTD_DONE__ACTION=action)
    home.drop("before.dcm", AS_IT_WAS.content)
    home.start()
    home.waits(lambda: not home.files(home.inbox) and "batch" in home.events(), 30)
    puts_in_its_place(service, AS_IT_WAS.ids, CORRECTED.content)
    home.drop("again.dcm", AS_IT_WAS.content)
    home.waits(lambda: bool(home.files(home.failed)), 30)
    assert home.stop() == 0
    (kept,) = home.files(home.failed)
    assert kept.read_bytes() == AS_IT_WAS.content
    why = home.reasons()["again.dcm"]
    assert (why["reason"], why["differs"]) == ("conflict", ["(0010,0020)"])
    held = held_by(service, AS_IT_WAS.ids)
    assert held is not None
    assert data_set(held) == data_set(CORRECTED.content)


def of_metadata(body: bytes) -> Behaviour:
    """This for metadata, and the bytes as they were stored."""

    def behave(turn: Turn) -> None:
        if "/metadata " in turn.line:
            turn.answer(200, body)
        else:
            shows()(turn)

    return behave


def with_uids(**more: object) -> dict[str, object]:
    tags = ("0020000D", "0020000E", "00080018")
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in zip(tags, AS_IT_WAS.ids, strict=True)} | more


FRAMES = {"vr": "SQ", "Value": [{"00204000": {"vr": "LT", "Value": ["x" * 10_000]}}] * 1800}
METADATA = {
    "of another patient": json.dumps([with_uids(**{"00100020": {"vr": "LO", "Value": ["ID2"]}})]),
    "with bytes that no character set knows": json.dumps([with_uids(**{"00100020": {"vr": "LO", "Value": ["?D1"]}})]),
    "larger than 16 MiB": json.dumps([with_uids(**{"52009230": FRAMES})]),
    "with NaN": json.dumps([with_uids(**{"00180050": {"vr": "DS", "Value": [float("nan")]}})]),
    "that name nobody": '[{"00080060":{"vr":"CS","Value":["CT"]}}]',
    "that name another": json.dumps([{"00080018": {"vr": "UI", "Value": ["9.9"]}}]),
}


@pytest.mark.slow
@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA.keys())
def test_bytes_decide_where_metadata_do_not(house: MakeHouse, metadata: str) -> None:
    """I2, F79, F80, F87: fetched once, equal, and filed; it was a conflict, or was sent again for ever."""
    service = ScriptedOrigin(store=[good, judges(45070)], read=[of_metadata(metadata.encode())])
    with hostile(service) as server:
        home = house(server.url)
        home.drop("before.dcm", AS_IT_WAS.content)
        home.start()
        home.waits(home.ended(1), 30)
        home.drop("again.dcm", AS_IT_WAS.content)
        home.waits(home.ended(2), 30)
        assert home.stop() == 0
    assert home.count() == {"inbox": 0, "done": 2, "failed": 0}
    assert (service.count("store"), len(service.given)) == (2, 1)
    assert any("/metadata " in asked.line for asked in service.asked)


def test_one_refused_series_stops_nobody_else(house: MakeHouse) -> None:
    """I3, F85: 60 refusals of one study counted as 50 in a row, and the brake kept 190 good files in the inbox."""
    refused = studies(count=1, each=60, size=1024)
    others = [made(n, study=study, size=1024) for study in range(2, 8) for n in range(1, 11)]
    bad = {one.ids[2] for one in refused}

    def judge(turn: Turn) -> None:
        turn.name({uid: 43264 if uid in bad else "stored" for uid in turn.uids()})

    service = ScriptedOrigin(store=[judge])
    with hostile(service) as server:
        home = house(server.url)
        for one in [*others[:30], *refused, *others[30:]]:
            home.drop(one.name, one.content)
        home.start()
        home.waits(home.ended(120), 60)
        assert home.stop() == 0
    assert home.count() == {"inbox": 0, "done": 60, "failed": 60}
    assert {why["reason"] for why in home.reasons().values()} == {"rejected"}
    assert "braked" not in home.events()
