"""What a hold says: what, where and how to mend it."""

from __future__ import annotations

import pytest

from ingestd.core.answers.answer import Answer, Loss
from ingestd.core.answers.fault import hold_for, hold_for_control
from ingestd.core.answers.outcome import Hold, HoldCause
from ingestd.dicomweb.origin.holds import hold_line

URL = "https://ws-svc.dicom.azurehealthcareapis.com/v2"
NOT_SENT = {"loss": Loss.NOT_SENT}


@pytest.mark.parametrize(
    ("answer", "identified", "words"),
    [
        (Answer(**NOT_SENT), True, [URL, "no connection", "service.url", "firewall"]),
        (
            Answer(**NOT_SENT, problem="no connection: Connection refused"),
            True,
            [URL, "refused", "that the service runs"],
        ),
        (
            Answer(**NOT_SENT, problem="TLS: the certificate is refused."),
            True,
            ["refused: check its date", "service.ca_bundle"],
        ),
        (Answer(**NOT_SENT, problem="no token: the file is empty"), True, ["no token", "the file is empty", URL]),
        (Answer(loss=Loss.TIMEOUT), True, [URL, "no whole answer in time", "service.response_timeout_seconds"]),
        (Answer(loss=Loss.LOST), True, [URL, "the connection broke"]),
        (Answer(loss=Loss.LOST, problem="the answer is no HTTP/1.1"), True, [URL, "no HTTP/1.1"]),
        (Answer(status=302), True, ["302", "sends us elsewhere", "service.url"]),
        (Answer(status=401), True, ["401", "auth.mode", "expired", "clock"]),
        (Answer(status=401), False, ["401", "auth.mode is none", "INGESTD_AUTH__MODE"]),
        (Answer(status=403), True, ["403", "DICOM Data Owner", "five minutes"]),
        (Answer(status=403), False, ["403", "auth.mode is none"]),
        (Answer(status=404), True, ["404", "/v2", "service.partition"]),
        (Answer(status=404, problem="service.partition: no such one"), True, ["service.partition: no such one"]),
        (Answer(status=406), True, ["406", "form that we read"]),
        (Answer(status=407), True, ["407", "service.proxy", "password"]),
        (Answer(status=407, page="text/html"), True, ["407", "service.proxy", "password"]),
        (Answer(status=401, page="text/html"), True, ["401", "auth.mode"]),
        (Answer(status=502, page="text/html"), True, ["502: it is in trouble", "it is tried again"]),
        (Answer(status=500), True, ["500: it is in trouble", "it is tried again"]),
        (Answer(status=424), True, ["424", "customer-managed key"]),
        (Answer(status=429), True, ["429", "throttles"]),
        (Answer(status=503), True, ["503", "in trouble"]),
        (Answer(status=403, page="text/html"), True, ["not DICOMweb", "403, text/html", "service.proxy"]),
        (
            Answer(status=200, page="text/html", comment="Log in"),
            True,
            ["not DICOMweb", "200, text/html", "login page"],
        ),
        (Answer(status=400), True, ["400 even to an empty store request", "service.partition", "service.client_cert"]),
    ],
)
def test_a_hold_says_what_where_and_how_to_mend_it_in_one_line(
    answer: Answer, identified: bool, words: list[str]
) -> None:
    """I7: and never the service's own words."""
    line = hold_line(hold_for_control(answer), url=URL, identified=identified)
    assert all(word in line for word in words), line
    assert "\n" not in line
    assert "Log in" not in line


def test_where_no_request_can_be_made_that_is_said() -> None:
    """F46"""
    assert hold_line(Hold(cause=HoldCause.UNREACHABLE, problem="no thread"), url=URL, identified=True) == "no thread"
    assert hold_line(Hold(cause=HoldCause.CONTROL), url=URL, identified=True)


def test_a_proxy_that_wants_a_password_is_at_fault_itself() -> None:
    """I3: and no file."""
    hold = hold_for(Answer(status=407))
    assert hold is not None
    assert hold.cause is HoldCause.PROXY


CERTIFICATE = "TLS: the certificate is refused: "


@pytest.mark.parametrize(
    ("problem", "mend", "not_this"),
    [
        (f"{CERTIFICATE}certificate has expired", "the service has a new one, and this machine's clock", "ca_bundle"),
        (f"{CERTIFICATE}certificate is not yet valid", "this machine's clock", "ca_bundle"),
        (f"{CERTIFICATE}unable to get local issuer certificate", "service.ca_bundle", "clock"),
        (f"{CERTIFICATE}self-signed certificate in certificate chain", "service.ca_bundle", "clock"),
        (f"{CERTIFICATE}Hostname mismatch, certificate is not valid for 'a'", "the host in service.url", "clock"),
        ("no connection: the name lookup failed: Name or service not known", "DNS", "firewall"),
        ("no connection: the name lookup took too long", "DNS", "firewall"),
        ("no connection: Connection refused", "that the service runs", "DNS"),
        ("service.proxy opens no tunnel: it answers 407, it wants a user and a password", "check service.proxy", "DNS"),
        ("no connection to service.proxy: Connection refused", "check service.proxy, and that it runs", "DNS"),
        ("no connection: no answer in time", "firewall", "clock"),
    ],
)
def test_what_is_known_of_a_lost_connection_decides_what_to_check(problem: str, mend: str, not_this: str) -> None:
    """F47: who is called at night is sent to one place and not to five."""
    line = hold_line(hold_for_control(Answer(loss=Loss.NOT_SENT, problem=problem)), url=URL, identified=True)
    assert line.startswith(f"{URL}: {problem}: check ")
    advice = line.removeprefix(f"{URL}: {problem}")
    assert mend in advice
    assert not_this not in advice
