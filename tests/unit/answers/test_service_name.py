"""The name of a service: what a receipt is about, from the settings and from a retrieve URL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.core.answers.service_name import service_name, service_of

INSTANCE = "/studies/1.2/series/3/instances/4"
LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8).filter(
    lambda text: text.strip("-") == text
)
HOST = st.lists(LABEL, min_size=1, max_size=4).map(".".join) | st.just("[2001:db8::1]")
SEGMENT = st.text("abcXYZ019._-", min_size=1, max_size=8) | st.sampled_from(
    ["studies", "partitions", "v1", "dicom-web"]
)
VERSION = st.sampled_from(["", "/v1", "/v2", "/v1.0-prerelease", "/V2"])
PARTITION = st.none() | SEGMENT


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://ws-dicom.dicom.azurehealthcareapis.com/v2", "https://ws-dicom.dicom.azurehealthcareapis.com"),
        (
            "https://WS-dicom.dicom.AzureHealthcareAPIs.com:443/v2/partitions/P",
            "https://ws-dicom.dicom.azurehealthcareapis.com/partitions/P",
        ),
        ("https://example.org/v1.0-prerelease", "https://example.org"),
        ("http://localhost:8042/dicom-web", "http://localhost:8042/dicom-web"),
        ("http://localhost:80", "http://localhost"),
        ("https://localhost:80/", "https://localhost:80"),
        ("http://[2001:DB8::1]:8042/v2", "http://[2001:db8::1]:8042"),
        ("https://proxy/to/dicom/v2", "https://proxy/to/dicom"),
        ("https://proxy/v2/to/dicom", "https://proxy/v2/to/dicom"),
        ("https://proxy/viewer", "https://proxy/viewer"),
        ("https://user:word@example.org/v2", "https://example.org"),
        ("https://example.org/studies/v2", "https://example.org/studies"),
    ],
)
def test_a_service_is_named_by_scheme_host_port_and_path_without_its_version(url: str, name: str) -> None:
    """DESIGN 3a, F96: by what a service answers with, and by what is set, it has one name."""
    assert service_of(f"{url}{INSTANCE}") == name
    assert service_of(f"{url}/studies/1.2") == name
    assert service_name(url, None) == name


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "nowhere",
        "https://example.org/v2/partitions/p",
        "ftp://example.org/studies/1.2",
        "/v2/studies/1.2",
        "https:///v2/studies/1.2",
        "https://example.org:port/studies/1.2",
        "https://[not-an-address/studies/1.2",
        "http://proxy/\\ud800",
    ],
)
def test_a_url_that_leads_to_no_instance_names_no_service(url: str | None) -> None:
    """F96: what names none is of an unknown service, never of ours by default."""
    assert service_of(url) is None


def test_a_partition_is_a_service_of_its_own() -> None:
    """I2: the same UIDs in another partition are another instance."""
    assert service_name("https://example.org/v2", "p") == "https://example.org/partitions/p"
    assert service_name("https://example.org/v2", "v2") == "https://example.org/partitions/v2"
    assert (
        service_of(f"https://example.org/v2/partitions/studies{INSTANCE}") == "https://example.org/partitions/studies"
    )


@given(
    scheme=st.sampled_from(["http", "https", "HTTPS"]),
    host=HOST,
    port=st.none() | st.integers(1, 65535),
    base=st.lists(SEGMENT, max_size=3),
    ours=VERSION,
    theirs=VERSION,
    partition=PARTITION,
)
def test_the_settings_and_a_retrieve_url_name_the_same_service(
    scheme: str, host: str, port: int | None, base: list[str], ours: str, theirs: str, partition: str | None
) -> None:
    """DESIGN 3a, F96: whatever the version was when the receipt was written."""
    if not (ours and theirs) or base[-1:] == [
        "partitions"
    ]:  # a name behind "partitions" is a partition, whatever it looks like
        theirs = ours
    root = f"{scheme}://{host}{f':{port}' if port is not None else ''}" + "".join(f"/{segment}" for segment in base)
    tail = f"/partitions/{partition}" if partition is not None else ""
    name = service_name(f"{root}{ours}", partition)
    assert service_of(f"{root.upper() if not base else root}{theirs}{tail}{INSTANCE}") == name
    assert name == name.rstrip("/")


@pytest.mark.slow
@given(st.text())
def test_whatever_a_service_answers_is_a_name_or_none(text: str) -> None:
    """I2: never an error over a receipt."""
    for url in (text, f"https://{text}/studies/1.2", f"https://example.org/{text}/studies/1.2"):
        name = service_of(url)
        assert name is None or name.startswith(("http://", "https://"))
