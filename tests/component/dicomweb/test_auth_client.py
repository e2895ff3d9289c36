"""401 on real sockets: one fresh identity and once more, whole; then it is the answer. And the identities that stand in files."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.bodies_fake import FakeBodies, parts
from fakes.hostile_server import HostileServer, Peer, Script, answer, hostile, named

from ingestd.core.answers.answer import Loss
from ingestd.core.answers.fault import hold_for
from ingestd.core.answers.outcome import Hold, HoldCause
from ingestd.core.errors import ConfigurationError
from ingestd.core.model import Identifiers
from ingestd.dicomweb.identity.headers import BasicPassword, Headers, TokenError, TokenFile, TokenSource, bearer
from ingestd.dicomweb.identity.token_cell import Token, TokenCell
from ingestd.dicomweb.origin.client import OriginServer
from ingestd.ops.clock import SystemClock
from ingestd.part10.digests import Arrival

CONTENT = b"\0" * 128 + b"DICM" + b"pixels" * 50_000
IDS = Identifiers(
    study_uid="1.2", series_uid="1.2.3", sop_instance_uid="1.2.3.4", sop_class_uid="1", transfer_syntax_uid="1"
)
CLOCK = SystemClock()
CANARY = "KANARIENVOGEL"


class Tokens:
    """t1, and after each 401 the next, as long as there are any."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.at = 1
        self.renewals = 0
        self.lasting: list[float] = []

    def headers(self, *, lasting: float = 0.0) -> Headers:
        self.lasting.append(lasting)
        return bearer(f"t{self.at}")

    def renewed(self, refused: Headers) -> Headers | None:
        self.renewals += 1
        if self.at >= self.count:
            return None
        self.at += 1
        return bearer(f"t{self.at}")


@contextmanager
def client(server: HostileServer, bodies: FakeBodies, token: TokenSource | None) -> Iterator[OriginServer]:
    origin = OriginServer(
        url=server.url,
        bodies=bodies,
        arrival=Arrival,
        clock=CLOCK,
        token=token,
        connect_timeout=2.0,
        response_timeout=5.0,
    )
    try:
        yield origin
    finally:
        origin.close()


def admitting(*tokens: str) -> Script:
    """401 for whoever shows another."""

    def script(peer: Peer) -> None:
        while True:
            request = peer.request()
            if request.headers.get("authorization", "").removeprefix("Bearer ") not in tokens:
                peer.send(answer(401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}))
            elif request.line.startswith("POST"):
                peer.send(answer(200, named("1.2.3.4"), content_type="application/dicom+json"))
            else:
                peer.send(answer(404))

    return script


def test_after_a_401_the_whole_body_is_sent_again_with_a_fresh_token() -> None:
    """F57, F63: another boundary, every byte again, and the digest of what was stored."""
    bodies, tokens = FakeBodies(), Tokens(2)
    with hostile(admitting("t2")) as server, client(server, bodies, tokens) as origin:
        found = origin.store([bodies.add(CONTENT, sop_instance_uid="1.2.3.4"), bodies.add(CONTENT * 2)])
    first, second = server.requests
    assert found.status == 200
    assert [parts(r.content_type, r.body) for r in (first, second)] == [[CONTENT, CONTENT * 2]] * 2
    assert first.content_type != second.content_type
    assert [r.headers["authorization"] for r in (first, second)] == ["Bearer t1", "Bearer t2"]
    assert all(found.digests)
    assert found.sent_bytes > 6 * len(CONTENT)  # both, for the metric counts what was sent


def test_a_second_401_is_the_answer() -> None:
    """F63, I3: once, then it is a hold, and no file's fault."""
    bodies, tokens = FakeBodies(), Tokens(99)
    with hostile(admitting()) as server, client(server, bodies, tokens) as origin:
        found = origin.store([bodies.add(CONTENT)])
    assert (found.status, len(server.requests), tokens.renewals) == (401, 2, 1)
    hold = hold_for(found)
    assert isinstance(hold, Hold)
    assert hold.cause is HoldCause.IDENTITY


def test_where_there_is_no_other_token_nothing_is_sent_again() -> None:
    bodies, tokens = FakeBodies(), Tokens(1)
    with hostile(admitting()) as server, client(server, bodies, tokens) as origin:
        assert origin.store([bodies.add(CONTENT)]).status == 401
    assert (len(server.requests), tokens.renewals) == (1, 1)


def test_without_an_identity_a_401_is_the_answer() -> None:
    bodies = FakeBodies()
    with hostile(admitting()) as server, client(server, bodies, None) as origin:
        assert origin.store([bodies.add(CONTENT)]).status == 401
    assert len(server.requests) == 1


def test_an_early_401_while_sending_is_heard_and_mended() -> None:
    """F48, F63: it comes before the body has gone out."""
    bodies, tokens = FakeBodies(), Tokens(2)

    def early(peer: Peer) -> None:
        peer.head()
        peer.send(answer(401, headers={"Connection": "close"}))
        peer.half_close()
        peer.everything()

    with hostile(early, admitting("t2")) as server, client(server, bodies, tokens) as origin:
        found = origin.store([bodies.add(CONTENT * 20, sop_instance_uid="1.2.3.4")])
    assert found.status == 200
    (request,) = server.requests
    assert parts(request.content_type, request.body) == [CONTENT * 20]


def test_reads_and_the_control_are_mended_too() -> None:
    tokens = Tokens(2)
    with hostile(admitting("t2")) as server, client(server, FakeBodies(), tokens) as origin:
        assert origin.metadata(IDS).status == 404
        assert origin.control().status == 200
        tokens.at = 1
        assert origin.fetch(IDS).status == 404
    assert [r.headers["authorization"][-2:] for r in server.requests] == ["t1", "t2", "t2", "t1", "t2"]


def test_the_token_is_asked_to_outlive_the_upload() -> None:
    """F63: by the slowest line before anything is known of it, then by what the last upload took."""
    bodies, tokens = FakeBodies(), Tokens(1)
    instance = bodies.add(CONTENT, sop_instance_uid="1.2.3.4")
    with hostile(admitting("t1")) as server, client(server, bodies, tokens) as origin:
        origin.store([instance])
        origin.store([instance])
        origin.store([instance] * 4)
        origin.control()
    first, second, larger, control = tokens.lasting
    assert first == pytest.approx(len(CONTENT) / 65536)
    assert second < first / 2
    assert larger == pytest.approx(4 * second, rel=3)
    assert control == 0.0


def test_many_requests_that_meet_one_401_make_one_token_request() -> None:
    """F63: with the real cell."""
    asked = []

    def fetch() -> Token:
        asked.append(1)
        return Token(value=f"t{len(asked)}", expires_at=CLOCK.wall() + 3600)

    cell = TokenCell(fetch, clock=CLOCK)
    cell.start()
    bodies = FakeBodies()
    instances = [bodies.add(CONTENT, sop_instance_uid="1.2.3.4") for _ in range(8)]
    with hostile(admitting("t2")) as server, client(server, bodies, cell) as origin, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: origin.store([i]).status, instances))
    assert (found, len(asked)) == ([200] * 8, 2)
    cell.stop()
    cell.join(5)


def test_no_token_is_a_hold_that_says_why() -> None:
    """I3, F64: nothing is sent, and the reason is one line for the log."""

    class Without:
        def headers(self, *, lasting: float = 0.0) -> Headers:
            raise TokenError("the identity provider has not answered within 5 s")

        def renewed(self, refused: Headers) -> Headers | None:
            raise AssertionError

        problem = "the identity provider has not answered within 30 s"

    bodies = FakeBodies()
    with hostile(admitting()) as server, client(server, bodies, Without()) as origin:
        found = origin.store([bodies.add(CONTENT)])
        assert (origin.metadata(IDS).loss, origin.fetch(IDS).loss) == (Loss.NOT_SENT, Loss.NOT_SENT)
    assert (found.loss, server.connections) == (Loss.NOT_SENT, 0)
    assert origin.problem == "no fresh token: the identity provider has not answered within 30 s"
    assert found.comment == "no token: the identity provider has not answered within 5 s"
    assert hold_for(found) is not None


# --- identities in files -------------------------------------------------------------------------------------------------------


def secret(path: Path, content: str, mode: int = 0o600) -> Path:
    new = path.with_name(f"{path.name}.new")
    new.write_text(content, encoding="utf-8")
    new.chmod(mode)
    return new.rename(path)


def test_a_token_file_that_was_rotated_mends_its_401(tmp_path: Path) -> None:
    """F63, F64: the new token came between the request and its answer."""
    token = TokenFile(secret(tmp_path / "token", "t1\n"))

    def rotating(peer: Peer) -> None:
        peer.request()
        secret(tmp_path / "token", "t2")
        peer.send(answer(401))
        admitting("t2")(peer)

    bodies = FakeBodies()
    with hostile(rotating) as server, client(server, bodies, token) as origin:
        assert origin.store([bodies.add(CONTENT)]).status == 200
        secret(tmp_path / "token", "t3")
        assert origin.store([bodies.add(CONTENT)]).status == 401
    assert [r.headers["authorization"][-2:] for r in server.requests] == ["t1", "t2", "t3"]


def test_a_projected_token_is_followed_through_its_symlink(tmp_path: Path) -> None:
    """F64: Kubernetes swaps ..data, and the file's own path stays."""
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        secret(tmp_path / number / "token", f"t{number}")
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "token").symlink_to("..data/token")
    token = TokenFile(tmp_path / "token")
    assert token.headers() == bearer("t1")
    (tmp_path / "..data_tmp").symlink_to("2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert token.headers() == bearer("t2")


def test_basic_is_user_and_password_in_utf_8(tmp_path: Path) -> None:
    """RFC 7617; the password is the file's one line, blanks and colons and all, read again when it changes."""
    token = BasicPassword("orthanc", secret(tmp_path / "password", " pass:wörd \r\n"))

    def shown() -> str:
        scheme, _, value = token.headers()["Authorization"].partition(" ")
        return f"{scheme} {base64.b64decode(value).decode()}"

    assert shown() == "Basic orthanc: pass:wörd "
    refused = token.headers()
    assert token.renewed(refused) is None
    secret(tmp_path / "password", "next")
    assert token.renewed(refused) == token.headers()
    assert shown() == "Basic orthanc:next"


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o666])
@pytest.mark.parametrize("kind", [TokenFile, lambda path: BasicPassword("u", path)], ids=["token", "password"])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, kind: object, mode: int) -> None:
    """F65: at the start with its path, later without; its content never."""
    assert callable(kind)
    path = secret(tmp_path / "it", CANARY, mode)
    with pytest.raises(ConfigurationError) as caught:
        kind(path)
    assert str(path) in str(caught.value)
    assert "chmod o-rw it" in str(caught.value)
    path.chmod(0o640)
    source = kind(path)
    path.chmod(mode)
    with pytest.raises(TokenError) as later:
        source.headers()
    assert source.renewed({}) is None
    assert str(path) not in str(later.value)
    assert CANARY not in f"{caught.value}{later.value}"


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    """A FIFO would block whoever opens it."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path, why in ((tmp_path / "fifo", "no regular file"), (tmp_path, "regular file"), (tmp_path / "x", "No such")):
        with pytest.raises(ConfigurationError, match=why):
            TokenFile(path)


def test_a_file_larger_than_any_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="larger than 64 KiB"):
        TokenFile(secret(tmp_path / "it", "x" * 70_000))
