"""Canaries: a token, a password, a patient, a server's words in every place where one can stand; every output is read for them.

What may show what (design 5): reason files and `failed show` hold the server's words and the file's path, `failed list` its path
and UIDs, for they are for the person who asks. The log, the metrics, the health pages, standard output and error hold none of it;
and what proves who we are, or names the patient, is nowhere.
"""

from __future__ import annotations

import base64
import os
import pty
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest
from fakes.hostile_server import HostileServer, hostile
from fakes.house import House
from fakes.pki import Authority
from fakes.ports import free_port
from fakes.powerless import powerless
from fakes.scripted_origin import (
    Behaviour,
    ScriptedOrigin,
    Turn,
    Verdict,
    Warned,
    after_all,
    good,
    judges,
    number,
    response,
    shows,
    sop_instance_uid,
    stops_reading,
)

from ingestd.emulator.samples import ct_instance

pytestmark = pytest.mark.timeout(90)
MakeHouse = Callable[..., House]

TOKEN = "eyJhbGciOi.CANARYTOKEN.c2lnbmF0dXJl"
PASSWORD = "CANARYPASSWORD"
PATIENT = "CANARYPATIENT"
PATIENT_ID = "1.3.6.1.4.1.99999.4711.1147"  # it could be a UID
WORDS = "CANARYWORDS"  # what the server says
NAME = "CANARYNAME"  # of files and folders
UID = "1.2.826.0.1.3680043.10.1465.77"
SECRETS = (
    TOKEN,
    PASSWORD,
    *(base64.b64encode(text.encode()).decode().rstrip("=") for text in (TOKEN, PASSWORD, f"somebody:{PASSWORD}")),
)
NEVER = (*SECRETS, PATIENT, PATIENT_ID)
QUICK = {
    "INGESTD_LOG__LEVEL": "debug",
    "INGESTD_INTAKE__INCOMPLETE_TIMEOUT_SECONDS": "1",
    "INGESTD_RETRY__BASE_SECONDS": "0.05",
    "INGESTD_RETRY__CAP_SECONDS": "0.1",
}


def instance(n: int) -> bytes:
    return ct_instance(
        study_uid=UID,
        series_uid=f"{UID}.1",
        sop_instance_uid=f"{UID}.1.{n}",
        patient_name=f"{PATIENT}^Anna",
        patient_id=PATIENT_ID,
        instance_number=n,
    )


def drop_all(home: House) -> int:
    """A file of every fate; how many end."""
    folder = f"{NAME}^{PATIENT}"
    for n in (1, 2, 3):
        home.drop(f"{folder}/{PATIENT}-{NAME}-{n}.dcm", instance(n))
    home.drop(f"{folder}/half {NAME}.dcm", instance(4)[:2000])
    home.drop(f"{NAME}\n{PATIENT}.dcm", f"Dear {PATIENT}, born {PATIENT_ID}".encode())
    home.drop(f"{NAME}\udcff.dcm", instance(5).replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x21\x00LO"))  # no PatientID
    (home.inbox / f"{NAME} {PATIENT}.txt").write_text(PATIENT)
    (home.inbox / f"{NAME} {PATIENT} link.dcm").symlink_to(f"/nowhere/{PATIENT}")
    return 6


# --- a server that quotes ---------------------------------------------------------------------------------------------------------


def stuffed(status: int, elsewhere: HostileServer) -> Behaviour:
    """The words in every part of an answer that can hold any, and whoever asked quoted back in its headers."""

    def behave(turn: Turn) -> None:
        turn.parts()
        quoted = f"{WORDS} {PATIENT} {turn.headers.get('authorization', '')}"
        body = f"<html>{WORDS}</html>".encode()
        head = [
            f"HTTP/1.1 {status} {quoted}",
            f"Location: {elsewhere.url.replace('//', f'//{WORDS}:{TOKEN}@')}/{quoted.replace(' ', '+')}",
            f'WWW-Authenticate: Bearer realm="{quoted}", error_description="{quoted}"',
            f"Retry-After: {quoted}",
            f'Warning: 299 {WORDS} "{quoted}"',
            f"Set-Cookie: session={WORDS}",
            f"Content-Type: text/html; charset={WORDS}",
            f"X-{WORDS}: {quoted}",
            f"Content-Length: {len(body)}",
        ]
        turn.peer.send("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    return behave


def no_http(turn: Turn) -> None:
    turn.parts()
    turn.peer.send(f"{WORDS} {PATIENT} {TOKEN}\r\n".encode())
    turn.peer.drop()


def rejects(verdicts: Mapping[int, Verdict]) -> Behaviour:
    """By number, and with words in each comment."""

    def behave(turn: Turn) -> None:
        mine = {uid: verdicts.get(number(uid), "stored") for uid in turn.uids()}
        turn.answer(
            202, response(mine, comment=f"{WORDS} in (0010,0010)"), Warning=f'299 {WORDS} "{WORDS} of {PATIENT}"'
        )

    return behave


def of_number_2(turn: Turn) -> None:
    """It holds that one alone, as another patient's."""
    shows(200 if f"/instances/{UID}.1.2" in turn.line else 404, PatientID=WORDS)(turn)


@pytest.fixture
def elsewhere() -> Iterator[HostileServer]:
    """A server that nobody may ask."""
    with hostile(lambda peer: peer.hold() and None) as trap:
        yield trap
        assert trap.connections == 0


def identity(mode: str, folder: Path) -> dict[str, str]:
    secret = folder / "secret"
    secret.write_text(TOKEN if mode == "token-file" else PASSWORD)
    secret.chmod(0o600)
    if mode == "token-file":
        return {"INGESTD_AUTH__MODE": mode, "INGESTD_AUTH__TOKEN_FILE": str(secret)}
    return {
        "INGESTD_AUTH__MODE": "basic",
        "INGESTD_AUTH__USERNAME": "somebody",
        "INGESTD_AUTH__PASSWORD_FILE": str(secret),
    }


def free_of(output: str, *words: str, where: str) -> None:
    found = [word for word in words if word in output]
    assert found == [], f"{where}: {[line[:300] for line in output.splitlines() if any(w in line for w in found)]}"


def written(home: House) -> str:
    """All that went to standard output and error of the daemon."""
    return (home.root / "log.jsonl").read_bytes().decode("latin-1")


@pytest.mark.slow
@pytest.mark.parametrize(("style", "mode"), [("json", "token-file"), ("console", "basic")])
def test_no_output_shows_what_it_may_not(
    house: MakeHouse, tmp_path: Path, elsewhere: HostileServer, style: str, mode: str
) -> None:
    """F65, F71, I7: a daemon at debug, with files of every fate, and a server that quotes all it heard in whatever it says."""
    statuses = (401, 301, 403, 404, 409, 413, 429, 500, 503, 204, 200)
    service = ScriptedOrigin(
        store=[*(stuffed(s, elsewhere) for s in statuses), no_http, rejects({1: 43264, 2: 45070})],
        control=[stuffed(s, elsewhere) for s in (403, 200, 500, 302)] + [good],
        read=[stuffed(500, elsewhere), of_number_2],
    )
    port = free_port()
    with hostile(service) as server:
        home = house(
            server.url,
            **QUICK,
            **identity(mode, tmp_path),
            INGESTD_LOG__FORMAT=style,
            INGESTD_ADMIN__LISTEN=f"127.0.0.1:{port}",
            INGESTD_SERVICE__CONCURRENCY="1",  # each answer meets the files that it is for: a 413 ends a file that it meets alone
        )
        ended = drop_all(home)
        process = home.start()
        home.waits(home.ended(ended), 45)
        pages = "".join(
            str(answer.headers) + answer.text
            for page in ("metrics", "livez", "readyz", f"{WORDS}/{TOKEN}")
            for answer in [httpx.get(f"http://127.0.0.1:{port}/{page}", trust_env=False)]
        )
        proc = Path(f"/proc/{process.pid}")
        surroundings = (proc / "cmdline").read_text() + (proc / "environ").read_text()
        assert home.stop() == 0
    asked = {asked.authorization for asked in service.asked}
    assert any(secret in str(header) for header in asked for secret in SECRETS)  # it was there to be shown
    reasons = {reason["reason"] for reason in home.reasons().values()}
    assert reasons >= {"rejected", "conflict", "truncated", "not_dicom"}

    free_of(written(home), *NEVER, WORDS, NAME, UID, where="the log")
    free_of(pages, *NEVER, WORDS, NAME, UID, where="the pages")
    free_of(surroundings, *SECRETS, where="argv and environment")
    here = ("--root", str(home.root))
    for command in (("config", "show"), ("config", "show", "--json"), ("resume", *here)):
        told = home.run(*command, *(() if "resume" in command else (*here, "--url", server.url)))
        assert told.returncode == 0
        free_of(told.stdout + told.stderr, *NEVER, WORDS, NAME, UID, where=" ".join(command))
    for command in (("failed", "list"), ("failed", "list", "--json")):
        told = home.run(*command, *here)
        assert NAME in told.stdout
        free_of(told.stdout + told.stderr, *SECRETS, PATIENT_ID, WORDS, where=" ".join(command))
    comments = 0
    for path, reason in home.reasons().items():
        told = home.run("failed", "show", path, *here)
        free_of(told.stdout + told.stderr, *SECRETS, PATIENT_ID, where="failed show")
        comments += WORDS in str(reason["comment"])
        free_of(str({**reason, "comment": None, "path": None}), *NEVER, WORDS, NAME, where="a reason file")
    assert comments >= 1
    told = home.run("failed", "retry", "--all", *here)
    free_of(told.stdout + told.stderr, *NEVER, WORDS, NAME, UID, where="failed retry")


FATES: Mapping[
    str, str
] = {  # of the files below, but for those that are stored: their reasons in failed/, "" for the inbox
    "creating": "",
    "trouble": "",
    "unreadable": "",
    "unmovable": "",
    "conflict": "conflict",
    "no-uid": "no_uid",
    "index": "dicomdir",
    "deflated": "not_dicom",
    "endless": "truncated",
}


def drop_the_rest(home: House) -> None:
    """A file of each fate that drop_all has not; names and folders hold the canary, and so does whatever is wrong in a file."""

    def drop(number: int, name: str, content: bytes | None = None) -> Path:
        path = f"{NAME}^{PATIENT}/{PATIENT} {name}.dcm"
        return home.drop(path, instance(number) if content is None else content)

    drop(1, "stored")
    drop(2, "warned")
    drop(3, "held")
    drop(4, "creating")
    drop(5, "trouble")
    drop(6, "conflict", instance(6).replace(PATIENT_ID.encode(), PATIENT_ID.replace("4711", "4712").encode()))
    study = b"\x20\0\x0d\0UI" + bytes((len(UID), 0))  # (0020,000D)
    drop(7, "no-uid", instance(7).replace(study + UID.encode(), study + PATIENT.encode().ljust(len(UID), b"^")))
    ct, index = b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.1.3.10".ljust(26, b"\0")
    drop(8, "index", instance(8).replace(ct, index, 1))
    meta = instance(9).partition(b"\x08\x00\x16\x00UI")[0]
    deflated = meta.replace(b"UI\x14\0" + b"1.2.840.10008.1.2.1\0", b"UI\x16\0" + b"1.2.840.10008.1.2.1.99")
    drop(9, "deflated", deflated + PATIENT.encode() * 50)
    drop(10, "endless", instance(10)[:-2000] + PATIENT.encode() * 50)
    drop(11, "unreadable").chmod(0)
    (drop(12, "closed").parent / f"{NAME} {PATIENT}").mkdir(mode=0)
    locked = home.drop(f"{NAME}/{PATIENT}/{PATIENT} unmovable.dcm", instance(13)).parent
    locked.chmod(0o555)


@pytest.mark.slow
@pytest.mark.parametrize("paths", ["digest", "name"])
def test_whatever_way_a_file_goes_nothing_of_it_is_said(house: MakeHouse, tmp_path: Path, paths: str) -> None:
    """F71, F31, F32, F33, F36, I7: stored, warned, held, deferred, in conflict, damaged, unreadable, unmovable; at debug.

    With log.paths = name the name is said, and still nothing out of the file.
    """
    verdicts = {2: Warned(45056), 3: 45070, 4: 45071, 5: 272, 6: 45070}
    service = ScriptedOrigin(store=[judges(verdicts)], read=[shows(PatientID=PATIENT_ID)])
    port = free_port()
    with hostile(service) as server:
        home = house(server.url, **QUICK, INGESTD_LOG__PATHS=paths, INGESTD_ADMIN__LISTEN=f"127.0.0.1:{port}")
        home.command = lambda *arguments: powerless(House.command(home, *arguments))  # type: ignore[method-assign]
        drop_the_rest(home)
        home.start()
        ends = sum(bool(reason) for reason in FATES.values())
        home.waits(lambda: len(home.files(home.failed)) == ends, 40)
        for event in ("locked", "unreadable", "waiting", "ignored", "verified", "noted"):
            home.waits(lambda e=event: f'"event":"{e}"' in written(home) or e == "noted", 20)
        pages = "".join(httpx.get(f"http://127.0.0.1:{port}/{p}", trust_env=False).text for p in ("metrics", "readyz"))
        assert home.stop() == 0
    reasons = {path.rpartition(" ")[2].removesuffix(".dcm"): r["reason"] for path, r in home.reasons().items()}
    assert reasons == {name: reason for name, reason in FATES.items() if reason}
    words = (*NEVER, WORDS, UID, "4712")
    if paths == "digest":
        free_of(written(home), *words, NAME, where="the log")
    else:
        assert NAME in written(home)
        said = [line for line in home.lines() if line.pop("path", None) is not None]
        assert said
        free_of(str(said), *words, NAME, where="the log but for its paths")
    free_of(pages, *words, NAME, where="the pages")
    texts = [f"{reason['text']} {reason['what_to_do']}" for reason in home.reasons().values()]
    free_of("\n".join(texts), *words, NAME, where="the reasons")


@pytest.mark.slow
def test_drain_shows_counts_and_no_more(house: MakeHouse, tmp_path: Path, elsewhere: HostileServer) -> None:
    """F65, I7: on a terminal, where there is a progress line and a log in colours, and into pipes."""
    service = ScriptedOrigin(store=[stuffed(500, elsewhere), no_http, rejects({1: 43264, 2: 43265})])
    with hostile(service) as server:
        for on_terminal in (False, True):
            home = house(
                server.url, **QUICK, **identity("basic", tmp_path), INGESTD_LOG__FORMAT="console", TERM="xterm-256color"
            )
            drop_all(home)
            command = home.command("drain", "--root", str(home.root), "--url", server.url, "--timeout", "30")
            code, output = outcome_of(command, home, on_terminal=on_terminal)
            assert code == 1, output
            assert "failed, 0 left" in output
            free_of(output, *NEVER, WORDS, NAME, UID, where="drain")


def outcome_of(command: Sequence[str], home: House, *, on_terminal: bool) -> tuple[int, str]:
    """Exit status, and all that a person saw."""
    if not on_terminal:
        ended = subprocess.run(command, env=home.environment(), capture_output=True, text=True, timeout=60, check=False)
        return ended.returncode, ended.stdout + ended.stderr
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=home.environment(), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = bytearray()
    try:
        while data := os.read(ours, 1 << 16):
            seen += data
    except OSError:  # EIO: the other side is closed
        pass
    os.close(ours)
    return process.wait(10), seen.decode("utf-8", "replace")


@pytest.mark.parametrize("away", ["certificate", "proxy"])
def test_who_stands_between_is_not_quoted(house: MakeHouse, tmp_path: Path, away: str) -> None:
    """F47, F65, I7: a stranger's certificate with words in it, and a proxy that quotes what it heard."""

    def proxy(peer: object) -> None:
        assert hasattr(peer, "head")
        peer.head()
        peer.send(
            f"HTTP/1.1 407 {WORDS} {PATIENT}\r\nProxy-Authenticate: {WORDS}\r\nContent-Length: 0\r\n\r\n".encode()
        )

    stranger = Authority(tmp_path / "stranger", name=WORDS)
    script = ScriptedOrigin() if away == "certificate" else proxy
    tls = stranger.server(stranger.issue(f"{WORDS.lower()}.example")) if away == "certificate" else None
    with hostile(script, tls=tls) as server:
        more = {"INGESTD_SERVICE__PROXY": server.url.removesuffix("/v2")} if away == "proxy" else {}
        url = server.url if away == "certificate" else "https://archive.example/v2"
        home = house(url, **QUICK, **identity("token-file", tmp_path), **more)
        drop_all(home)
        home.start()
        home.waits(lambda: '"cause":"unreachable"' in written(home), 20)
        home.waits(lambda: written(home).count('"event":"probed"') >= 2, 20)
        assert home.stop() == 0
    free_of(written(home), *NEVER, WORDS, WORDS.lower(), NAME, UID, where="the log")
    assert home.files(home.failed) == [] or "CANARY" not in str([r["text"] for r in home.reasons().values()])


# --- crashes ----------------------------------------------------------------------------------------------------------------------

CRASH = """
import sys
import ingestd.{module} as module
from ingestd.cli.main import main

def crash(self, *given, **more):
    secret = {secret!r}
    raise RuntimeError(f"no room for {{given}} {{more}} {{secret}}")

module.{what} = crash
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "what", "ends"),
    [
        ("daemon.arriving.intake", "Intake._judge", True),  # the loop: the process ends
        ("daemon.ending.endings", "Endings.file_away", True),
        ("dicomweb.payload.store_body", "StoreBody.__iter__", False),  # a request's thread: contained
        ("spool.intake.scanner", "FolderScanner._offer", False),  # a supervised thread: started again
        ("ops.metrics", "Metrics.gauges", True),
        ("spool.intake.inbox", "_Opened.__del__", False),  # where nobody can catch it
    ],
    ids=lambda given: given if isinstance(given, str) and "." in given else "",
)
def test_an_error_of_our_own_quotes_nothing(
    house: MakeHouse, tmp_path: Path, module: str, what: str, ends: bool
) -> None:
    """F10, F65, I7: an exception whose text and arguments hold all of it is said by type and place."""
    script = tmp_path / "crash.py"
    script.write_text(CRASH.format(module=module, what=what, secret=f"{TOKEN} {PATIENT} {WORDS}"))
    with hostile(ScriptedOrigin()) as server:
        home = house(server.url, **QUICK, **identity("token-file", tmp_path))
        home.command = lambda *arguments: [*House.command(home)[:1], str(script), *arguments]  # type: ignore[method-assign]
        drop_all(home)
        process = home.start()
        if ends:
            assert process.wait(30) == 1
        else:
            home.waits(lambda: "RuntimeError" in written(home), 20)
            home.stop()
    assert "RuntimeError" in written(home)
    free_of(written(home), *NEVER, WORDS, NAME, UID, where="standard error and log")
    assert home.count()["failed"] == 0 or not ends


NOISE = """
import logging, sys, warnings
import ingestd.daemon.arriving.intake as intake
from ingestd.cli.main import main

found = intake.Intake._found

def noisy(self, entry, *given, **more):
    for name in ("httpx", "pydicom", "watchdog.observers", "azure.core.pipeline", "msal", "somebody.else", ""):
        logging.getLogger(name).error("%s in %s", {secret!r}, entry.path)
        logging.getLogger(name).debug({secret!r})
    try:
        raise OSError(2, {secret!r}, entry.path)
    except OSError:
        logging.getLogger("httpcore").exception({secret!r})
    for kind in (UserWarning, DeprecationWarning, ResourceWarning):
        warnings.warn({secret!r} + entry.path, kind)
    return found(self, entry, *given, **more)

intake.Intake._found = noisy
warnings.simplefilter("always")
sys.exit(main())
"""


@pytest.mark.slow
def test_what_libraries_say_is_said_by_name_and_place(house: MakeHouse, tmp_path: Path) -> None:
    """F71, F65, I7, I8: log records and warnings that quote the file, from whatever library; each place speaks once a minute."""
    script = tmp_path / "noise.py"
    script.write_text(NOISE.format(secret=f"{TOKEN} {PATIENT} {WORDS} {UID}"))
    with hostile(ScriptedOrigin()) as server:
        home = house(server.url, **QUICK)
        home.command = lambda *arguments: [*House.command(home)[:1], str(script), *arguments]  # type: ignore[method-assign]
        ended = drop_all(home)
        home.start()
        home.waits(home.ended(ended), 30)
        assert home.stop() == 0
    free_of(written(home), *NEVER, WORDS, NAME, UID, where="standard error and log")
    said = [line["library"] for line in home.lines() if line["event"] == "library"]
    assert {"httpx", "pydicom", "watchdog.observers", "azure.core.pipeline", "msal", "somebody.else"} <= set(said)
    assert len(said) < 15


def test_an_abort_dumps_nothing(house: MakeHouse, tmp_path: Path, elsewhere: HostileServer) -> None:
    """F65, I7: SIGABRT in mid-request: no traceback, no locals."""
    service = ScriptedOrigin(store=[after_all(stops_reading)])
    with hostile(service) as server:
        home = house(server.url, **QUICK, **identity("token-file", tmp_path))
        drop_all(home)
        home.start()
        home.waits(lambda: bool(service.asked), 20)
        assert home.stop(signal.SIGABRT) == -signal.SIGABRT
    free_of(written(home), *NEVER, WORDS, NAME, UID, where="standard error and log")
    assert "Traceback" not in written(home)


@pytest.mark.slow
def test_a_state_folder_that_goes_away_is_said_without_a_path(house: MakeHouse, tmp_path: Path) -> None:
    """F65, I7, F42: the state folder, named for a patient, is replaced by a file under a running daemon."""
    root = tmp_path / f"{NAME} {PATIENT}"
    with hostile(ScriptedOrigin(store=[rejects({1: 43264})])) as server:
        home = house(server.url, **QUICK, **identity("token-file", tmp_path))
        folders = {
            f"INGESTD_FOLDERS__{name.upper()}": str(root / name) for name in ("inbox", "done", "failed", "state")
        }
        (root / "inbox").mkdir(parents=True)
        log = tmp_path / "log"
        with open(log, "wb") as out:
            process = subprocess.Popen(
                home.command("run", "--url", server.url),
                env=home.environment() | folders,
                stdout=out,
                stderr=out,
            )
        try:
            (root / "inbox" / "0.dcm").write_bytes(instance(3))
            home.waits(lambda: any(root.glob("done/*/0.dcm")), 20)
            shutil.rmtree(root / "state")
            (root / "state").write_text(PATIENT)
            for folder in ("done", "failed"):
                shutil.rmtree(root / folder)
                (root / folder).write_text(PATIENT)
            (root / "inbox" / f"{PATIENT}.dcm").write_bytes(instance(1))
            (root / "inbox" / "2.dcm").write_bytes(instance(2))
            home.waits(lambda: b"trouble" in log.read_bytes() or b"unmovable" in log.read_bytes(), 20)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
    free_of(log.read_text(), *NEVER, WORDS, NAME, UID, where="the log")


# --- secrets in the wrong place ---------------------------------------------------------------------------------------------------

PEM = f"-----BEGIN PRIVATE KEY-----\nMIGH/{PASSWORD}\n-----END PRIVATE KEY-----\n"
MISTAKES: Mapping[str, tuple[Sequence[str], Mapping[str, str], str]] = {
    "user and password in --url": (("--url", f"https://somebody:{PASSWORD}@127.0.0.1/v2"), {}, ""),
    "a password alone in --url": (("--url", f"https://:{PASSWORD}@127.0.0.1/v2"), {}, ""),
    "a broken --url with a password": (("--url", f"https:somebody:{PASSWORD}@127.0.0.1:x/v2"), {}, ""),
    "a signature in --url": (("--url", f"https://127.0.0.1/v2?sig={TOKEN}"), {}, ""),
    "a token in the fragment": (("--url", f"https://127.0.0.1/v2#{TOKEN}"), {}, ""),
    "a password in the proxy": ((), {"INGESTD_SERVICE__PROXY": f"http://somebody:{PASSWORD}@127.0.0.1:3128"}, ""),
    "client_secret": ((), {"INGESTD_AUTH__CLIENT_SECRET": PASSWORD}, ""),
    "password": ((), {"INGESTD_AUTH__PASSWORD": PASSWORD}, ""),
    "token": ((), {"INGESTD_AUTH__TOKEN": TOKEN}, ""),
    "password under service": ((), {"INGESTD_SERVICE__PASSWORD": PASSWORD}, ""),
    "authorization under service": ((), {"INGESTD_SERVICE__AUTHORIZATION": f"Bearer {TOKEN}"}, ""),
    "api key under service": ((), {"INGESTD_SERVICE__API_KEY": PASSWORD}, ""),
    "a passphrase under service": ((), {"INGESTD_SERVICE__CLIENT_KEY_PASSPHRASE": PASSWORD}, ""),
    "a section of secrets": ((), {}, f'[secrets]\nvalue = "{PASSWORD}"\n'),
    "a password in the user name": (
        (),
        {"INGESTD_AUTH__MODE": "basic", "INGESTD_AUTH__USERNAME": f"somebody:{PASSWORD}"},
        "",
    ),
    "the token instead of its file": ((), {"INGESTD_AUTH__MODE": "token-file", "INGESTD_AUTH__TOKEN_FILE": TOKEN}, ""),
    "the password instead of its file": (
        (),
        {
            "INGESTD_AUTH__MODE": "basic",
            "INGESTD_AUTH__USERNAME": "somebody",
            "INGESTD_AUTH__PASSWORD_FILE": PASSWORD,
        },
        "",
    ),
    "the private key instead of its file": (
        (),
        {"INGESTD_SERVICE__CLIENT_CERT": "/dev/null", "INGESTD_SERVICE__CLIENT_KEY": PEM},
        "",
    ),
    "certificate and key instead of their file": ((), {"INGESTD_SERVICE__CLIENT_CERT": PEM}, ""),
    "no TOML, in the line of a secret": ((), {}, f'[auth]\nclient_secret_file = "{PASSWORD}\n'),
    "no quotes around a secret": ((), {}, f"[auth]\nclient_secret = {PASSWORD}\n"),
    "a secret outside any section": ((), {}, f'password = "{PASSWORD}"\n'),
    "a secret that is a list": ((), {}, f'[auth]\ntoken = ["{TOKEN}", "{PASSWORD}"]\n'),
    "a secret in a section of its own": ((), {}, f'[auth.client]\nsecret = "{PASSWORD}"\n'),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(tmp_path: Path, mistake: str) -> None:
    """F65, F70, I7: exit 78, and the line names the key and not what stands there."""
    arguments, environment, toml = MISTAKES[mistake]
    (tmp_path / "ingestd.toml").write_text(toml)
    url = () if "--url" in arguments else ("--url", "https://127.0.0.1:9/v2")
    home = House(tmp_path, "", **environment)
    told = home.run("run", "--config", "ingestd.toml", "--root", ".", *url, *arguments)
    assert told.returncode == 78
    assert told.stderr.startswith("ingestd: ")
    free_of(told.stdout + told.stderr, *SECRETS, where=mistake)


def test_a_token_file_that_others_can_read_is_refused_without_its_content(tmp_path: Path) -> None:
    """F65: also one that holds what is no token."""
    for content, mode in ((TOKEN, 0o644), (f"{PASSWORD} {PASSWORD}", 0o600)):
        secret = tmp_path / "secret"
        secret.unlink(missing_ok=True)
        secret.write_text(content)
        secret.chmod(mode)
        home = House(tmp_path, "", INGESTD_AUTH__MODE="token-file", INGESTD_AUTH__TOKEN_FILE=str(secret))
        told = home.run("drain", "--root", str(tmp_path), "--url", "https://127.0.0.1:9/v2")
        assert told.returncode == 78
        assert "auth.token_file" in told.stderr
        free_of(told.stdout + told.stderr, *SECRETS, where="refusal")


def test_what_the_canaries_stand_in_is_read(tmp_path: Path) -> None:
    """The instances hold what the outputs are searched for."""
    content = instance(1)
    assert PATIENT.encode() in content
    assert PATIENT_ID.encode() in content
    assert sop_instance_uid(content).startswith(UID)
