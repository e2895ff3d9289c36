"""The settings: every kind of bad configuration is one line that names key and value, before any file is touched (F70)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.cli.show import show
from ingestd.config import Raw, Settings, load, loading, unread
from ingestd.core.errors import ConfigurationError

URL = "https://ws-dicom.dicom.azurehealthcareapis.com/v2"
ROOT = "/srv/ingestd"


@pytest.fixture(autouse=True)
def no_file_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "DEFAULT_FILE", tmp_path / "not-there.toml")


def raw(**sections: dict[str, Any]) -> Raw:
    """Settings that work, and what a test puts over them."""
    out: Raw = {"folders": {n: f"{ROOT}/{n}" for n in ("inbox", "done", "failed", "state")}, "service": {"url": URL}}
    for name, keys in sections.items():
        out.setdefault(name, {}).update(keys)
    return out


def made(environment: dict[str, str] | None = None, **sections: dict[str, Any]) -> Settings:
    return load(file=None, environment=environment or {}, flags=raw(**sections))


def refusal(environment: dict[str, str] | None = None, **sections: dict[str, Any]) -> str:
    """The one line that says what is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        made(environment, **sections)
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


def write(folder: Path, text: str) -> Path:
    file = folder / "ingestd.toml"
    file.write_text(text, encoding="utf-8")
    return file


# Defaults and layers.


def test_folders_and_a_url_are_enough_and_the_rest_is_as_documented() -> None:
    """DESIGN 5: the table's defaults."""
    settings = made()
    assert settings.folders.inbox == Path("/srv/ingestd/inbox")
    assert settings.intake.model_dump() == {
        "include": ("*.dcm",),
        "exclude": (),
        "recursive": True,
        "watch": "auto",
        "rescan_seconds": 10,
        "quiet_seconds": 2,
        "network_quiet_seconds": 60,
        "incomplete_timeout_seconds": 900,
        "headerless": "quarantine",
        "holes": "wait",
        "window": 5000,
        "remove_empty_dirs_after_seconds": None,
    }
    assert settings.done.model_dump() == {"action": "move", "retention_days": None, "layout": "{date}/{path}"}
    assert settings.journal.model_dump() == {"receipts_days": None}
    assert settings.service.model_dump(exclude={"url"}) == {
        "kind": "auto",
        "partition": None,
        "ca_bundle": None,
        "client_cert": None,
        "client_key": None,
        "proxy": None,
        "concurrency": 4,
        "connect_timeout_seconds": 10,
        "response_timeout_seconds": 300,
        "max_request_bytes": 4293918720,
        "allow_http": False,
    }
    assert settings.batch.model_dump() == {
        "by": "study",
        "max_instances": 100,
        "max_bytes": 64 * 1024 * 1024,
        "linger_seconds": 0.5,
    }
    assert settings.retry.model_dump() == {
        "instance_attempts": 8,
        "base_seconds": 1,
        "cap_seconds": 60,
        "retry_after_cap_seconds": 3600,
        "creating_hours": 24,
        "patience_seconds": 3600,
    }
    assert settings.duplicates.model_dump() == {"policy": "verify", "conflict": "quarantine"}
    assert settings.brake.model_dump() == {"in_a_row": 50, "last": 200, "share": 0.95}
    assert (settings.auth.mode, settings.auth.scope) == ("none", "https://dicom.healthcareapis.azure.com/.default")
    assert (settings.shutdown.deadline_seconds, settings.shutdown.drain) == (25, "in-flight")
    assert (settings.admin.listen, settings.done.layout) == ("127.0.0.1:9464", "{date}/{path}")
    assert settings.log.model_dump() == {"format": "json", "level": "info", "paths": "digest"}


def test_flags_beat_the_environment_and_the_environment_beats_the_file(tmp_path: Path) -> None:
    """Key by key, also inside one section."""
    file = write(tmp_path, "[batch]\nmax_instances = 1\nlinger_seconds = 1\nby = 'any'\n[log]\nlevel = 'debug'")
    environment = {"INGESTD_BATCH__MAX_INSTANCES": "2", "INGESTD_BATCH__LINGER_SECONDS": "2"}
    flags = raw(batch={"max_instances": 3})
    batch = load(file=file, environment=environment, flags=flags).batch
    assert (batch.max_instances, batch.linger_seconds, batch.by, batch.max_bytes) == (3, 2, "any", 64 << 20)


def test_the_file_is_the_flags_or_the_environments_or_the_one_in_etc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def file(name: str) -> Path:
        (tmp_path / name).mkdir()
        return write(tmp_path / name, f"[log]\nlevel = '{name}'")

    etc, named, flag = file("error"), file("warning"), file("debug")
    monkeypatch.setattr(loading, "DEFAULT_FILE", etc)
    by_name = {"INGESTD_CONFIG": str(named)}
    levels = [
        load(file=f, environment=e, flags=raw()).log.level for f, e in [(flag, by_name), (None, by_name), (None, {})]
    ]
    assert levels == ["debug", "warning", "error"]


def test_settings_can_not_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        made().log.level = "debug"


# The environment.


def test_lists_in_the_environment_are_json() -> None:
    environment = {"INGESTD_INTAKE__INCLUDE": '["*.dcm", "IM*"]', "INGESTD_INTAKE__EXCLUDE": "[]"}
    assert made(environment).intake.include == ("*.dcm", "IM*")
    line = refusal({"INGESTD_INTAKE__INCLUDE": "*.dcm"})
    assert line == """intake.include = '*.dcm': give a list as JSON, such as ["*.dcm"]"""


@pytest.mark.parametrize("value", ["dicom", '"dicom"'])
def test_what_begins_like_dicom_is_a_word_bare_or_as_json(value: str) -> None:
    """F93: `intake.include = "dicom"`."""
    assert made({"INGESTD_INTAKE__INCLUDE": value}).intake.include == "dicom"


def test_the_word_is_no_list_of_what_is_left_out() -> None:
    assert refusal({"INGESTD_INTAKE__EXCLUDE": "dicom"}).startswith("intake.exclude = 'dicom': give a list")


@pytest.mark.parametrize("value", ['"*.dcm"', "{}", "5", "[5]", "[[]]", "null", "[]", "DICOM", '["*.dcm", 5]'])
def test_json_that_is_no_list_of_names_is_refused(value: str) -> None:
    assert refusal({"INGESTD_INTAKE__INCLUDE": value}).startswith("intake.include")


def test_names_that_kubelet_injects_are_not_ours() -> None:
    """DESIGN 5: a Kubernetes service called ingestd puts these into each container."""
    injected = {
        "INGESTD_SERVICE_HOST": "10.0.0.1",
        "INGESTD_SERVICE_PORT": "9464",
        "INGESTD_SERVICE_PORT_METRICS": "9464",
        "INGESTD_PORT": "tcp://10.0.0.1:9464",
        "INGESTD_PORT_9464_TCP_ADDR": "10.0.0.1",
        "INGESTD_CONFIG": "",
        "MY_INGESTD_SERVICE__URL": "https://elsewhere.test",
        "PATH": "/bin",
    }
    assert made(injected) == made()


def test_numbers_sizes_and_switches_are_read_from_text() -> None:
    environment = {
        "INGESTD_SERVICE__CONCURRENCY": "8",
        "INGESTD_INTAKE__RECURSIVE": "false",
        "INGESTD_INTAKE__QUIET_SECONDS": "0.5",
        "INGESTD_BATCH__MAX_BYTES": "1GiB",
    }
    settings = made(environment)
    assert (settings.service.concurrency, settings.intake.recursive) == (8, False)
    assert (settings.intake.quiet_seconds, settings.batch.max_bytes) == (0.5, 1 << 30)


@pytest.mark.parametrize(
    ("text", "size"),
    [(1, 1), ("1", 1), ("7B", 7), ("64MiB", 64 << 20), ("64 mib", 64 << 20), (" 2KiB ", 2048), ("3GiB", 3 << 30)],
)
def test_a_size_is_bytes_or_has_a_unit(text: object, size: int) -> None:
    assert made(batch={"max_bytes": text}).batch.max_bytes == size


# Refusals. Each is one line: key, value, how to mend it.


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("batch", "max_bytes", "64MB"),
        ("batch", "max_bytes", "1.5GiB"),
        ("batch", "max_bytes", "-1"),
        ("batch", "max_bytes", ""),
        ("batch", "max_bytes", 0),
        ("batch", "max_bytes", "0KiB"),
        ("batch", "max_bytes", "9" * 5000),
        ("batch", "max_instances", 0),
        ("batch", "by", "series"),
        ("batch", "linger_seconds", -0.1),
        ("service", "max_request_bytes", 1.5),
        ("service", "concurrency", 0),
        ("service", "concurrency", 65),
        ("service", "concurrency", "many"),
        ("service", "concurrency", True),
        ("service", "concurrency", None),
        ("service", "response_timeout_seconds", 0),
        ("service", "response_timeout_seconds", "nan"),
        ("service", "connect_timeout_seconds", "inf"),
        ("service", "allow_http", "perhaps"),
        ("intake", "watch", "inotify"),
        ("intake", "window", 15),
        ("intake", "quiet_seconds", False),
        ("intake", "rescan_seconds", 0),
        ("intake", "include", 5),
        ("intake", "incomplete_timeout_seconds", float("nan")),
        ("retry", "instance_attempts", 0),
        ("retry", "cap_seconds", "1 minute"),
        ("duplicates", "policy", "trust"),
        ("duplicates", "conflict", "delete"),
        ("brake", "in_a_row", 0),
        ("brake", "last", 0),
        ("brake", "share", 0),
        ("brake", "share", 95),
        ("brake", "share", "nan"),
        ("auth", "mode", "basic-ish"),
        ("shutdown", "drain", "all"),
        ("log", "level", "trace"),
        ("log", "format", "xml"),
        ("log", "paths", "full"),
        ("done", "layout", "{date}"),
        ("done", "layout", "/{path}"),
        ("done", "layout", "../{path}"),
        ("done", "layout", "./{path}"),
        ("done", "layout", "x//{path}"),
        ("done", "layout", "a\n/{path}"),
        ("done", "layout", "{study}/{path}"),
        ("done", "layout", "{path}.old"),
        ("done", "layout", "}{path}"),
        ("admin", "listen", "9464"),
        ("admin", "listen", "localhost:"),
        ("admin", "listen", "localhost:99999"),
        ("admin", "listen", "::1:9464"),
        ("admin", "listen", "a b:1"),
    ],
)
def test_a_bad_value_is_named_with_its_key(section: str, key: str, value: object) -> None:
    """F70."""
    line = refusal(None, **{section: {key: value}})
    assert line.startswith(f"{section}.{key} = {value!r}: ")


@pytest.mark.parametrize("listen", ["127.0.0.1:9464", "[::1]:0", "localhost:65535", "0.0.0.0:1", "off"])
def test_an_address_is_host_and_port_or_off(listen: str) -> None:
    assert made(admin={"listen": listen}).admin.listen == listen


@pytest.mark.parametrize("layout", ["{path}", "{date}/{path}", "stored/{path}"])
def test_a_layout_ends_in_the_path(layout: str) -> None:
    assert made(done={"layout": layout}).done.layout == layout


def test_a_size_that_can_not_be_read_says_how_to_write_one() -> None:
    line = refusal(batch={"max_bytes": "64MB"})
    assert line == "batch.max_bytes = '64MB': give bytes, or a whole number with KiB, MiB or GiB, such as 64MiB"


def test_an_unknown_key_is_refused() -> None:
    """A key without an effect does not exist."""
    line = refusal(batch={"colour": 5})
    assert line == "batch.colour = 5: there is no such key: `ingestd config docs` lists all of them"
    line = refusal({"INGESTD_BATCH__COLOUR": "5"})
    assert line.startswith("batch.colour = '5' (INGESTD_BATCH__COLOUR): there is no such key: ")


@pytest.mark.parametrize(
    ("section", "wrong", "meant"),
    [
        ("batch", "max_instance", "batch.max_instances"),
        ("service", "ulr", "service.url"),
        ("service", "connect-timeout-seconds", "service.connect_timeout_seconds"),
        ("auth", "secret", "auth.client_secret_file"),
        ("service", "inbox", "folders.inbox"),
        ("folders", "url", "service.url"),
    ],
)
def test_the_nearest_key_is_named(section: str, wrong: str, meant: str) -> None:
    """F70: by looks, by being the only one with that word in it, or in another section; as file and environment spell it."""
    assert refusal(**{section: {wrong: "x"}}).endswith(f": there is no such key: did you mean {meant}?")
    name, right = (f"INGESTD_{place.replace('.', '__')}".upper() for place in (f"{section}.{wrong}", meant))
    assert refusal({name: "x"}).endswith(f" ({name}): there is no such key: did you mean {meant} ({right})?")


def test_an_unknown_section_is_refused() -> None:
    line = refusal(colours={"max_instances": 5})
    assert line == "colours: there is no such section: `ingestd config docs` lists all of them"
    assert refusal(bach={"max_instances": 5}) == "bach: there is no such section: did you mean [batch]?"
    line = refusal({"INGESTD_BACH__BY": "any"})
    assert line == "bach (INGESTD_BACH__BY): there is no such section: did you mean INGESTD_BATCH__...?"


@pytest.mark.parametrize(
    "text",
    [
        "[service]\nulr = 'https://pacs.test/v2'",
        "[serivce]\nurl = 'https://pacs.test/v2'",
    ],
)
def test_a_wrong_name_is_one_line_although_the_right_one_is_missing_then(tmp_path: Path, text: str) -> None:
    """F70: it was set, under another name."""
    with pytest.raises(ConfigurationError) as caught:
        load(file=write(tmp_path, text), environment={}, flags={"folders": raw()["folders"]})
    assert "did you mean" in str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_a_wrong_folder_is_one_line_too(tmp_path: Path) -> None:
    """F70."""
    folders = "\n".join(f"{name} = '/srv/{name}'" for name in ("inbox", "done", "failed", "state"))
    for text in (f"[folder]\n{folders}", f"[folders]\n{folders}".replace("state", "stat", 1)):
        with pytest.raises(ConfigurationError, match="did you mean") as caught:
            load(file=write(tmp_path, text), environment={}, flags={"service": {"url": URL}})
        assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("INGESTD_SERVICE_URL", "service.url"),
        ("INGESTD_FOLDERS_STATE", "folders.state"),
    ],
)
def test_a_variable_with_one_underscore_is_named_where_its_key_is_missing(name: str, missing: str) -> None:
    """F70: it looks as if it were set."""
    section, _, key = missing.partition(".")
    flags = raw()
    del flags[section][key]
    for injected in ({}, {"INGESTD_SERVICE_HOST": "10.0.0.1", "INGESTD_SERVICE_PORT_URL": "9464"}):
        with pytest.raises(ConfigurationError) as caught:
            load(file=None, environment=injected, flags=flags)
        assert "underscore" not in str(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        load(file=None, environment={name: "x", "INGESTD_LOG_LEVEL": "x"}, flags=flags)
    assert str(caught.value).startswith(f"{missing} is not set: ")
    assert str(caught.value).endswith(f"; {name}, which is set, lacks an underscore")


def test_variables_that_nobody_reads_are_listed_once_and_kubelets_are_not() -> None:
    """DESIGN 5."""
    kubelet = {"INGESTD_SERVICE_HOST": "1", "INGESTD_SERVICE_PORT": "1", "INGESTD_SERVICE_PORT_URL": "1"}
    ours = {"INGESTD_CONFIG": "", "INGESTD_SERVICE__URL": URL, "INGESTD_SERVICE_URL": URL}
    assert unread(kubelet | ours) == []
    assert unread({"INGESTD_SERVICE_MAX_CONCURRENC": "1", "INGESTD_ADMIN_LISTEN": "off"} | kubelet) == [
        "INGESTD_ADMIN_LISTEN has no effect: between section and key stand two underscores: INGESTD_ADMIN__LISTEN"
    ]


def test_each_problem_has_its_own_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        made(log={"level": "loud"}, batch={"by": "chance", "size": 1})
    assert [line.partition(" ")[0] for line in str(caught.value).splitlines()] == [
        "batch.by",
        "batch.size",
        "log.level",
    ]


def test_what_is_missing_is_said_with_every_way_to_give_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(file=None, environment={}, flags={"folders": {"inbox": "/srv/in"}})
    lines = str(caught.value).splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        "folders.done",
        "folders.failed",
        "folders.state",
        "service.url",
    ]
    assert "INGESTD_FOLDERS__DONE" in lines[0]
    assert "--root DIR" in lines[0]
    assert "INGESTD_SERVICE__URL" in lines[3]
    assert "--url URL" in lines[3]


def test_without_any_folder_one_line_says_so() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(file=None, environment={}, flags={"service": {"url": URL}})
    assert str(caught.value).startswith("folders is not set: ")
    assert str(caught.value).count("\n") == 0


# The file.


def test_a_file_that_is_not_there_or_is_none_is_one_line(tmp_path: Path) -> None:
    for file in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(ConfigurationError, match=f"^{file}: .* with --config$"):
            load(file=file, environment={}, flags=raw())


@pytest.mark.parametrize(
    "content", [b"[batch", b"\xff\xfe", b"[batch]\nby = any", b"a = " + b"9" * 5000, b"x" * 9 + b"\0"]
)
def test_a_file_that_is_not_toml_is_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ingestd.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load(file=file, environment={}, flags=raw())
    assert str(caught.value).startswith(f"{file}: not TOML: ")
    assert str(caught.value).count("\n") == 0


def test_a_key_outside_any_section_is_one_line(tmp_path: Path) -> None:
    file = write(tmp_path, "concurrency = 4\n[service]\nurl = 'https://pacs.test/v2'")
    with pytest.raises(ConfigurationError, match=r"concurrency stands outside any section: .* \[service\]$"):
        load(file=file, environment={}, flags=raw())
    with pytest.raises(ConfigurationError, match=r"inbox stands outside any section: .* \[folders\]$"):
        load(file=write(tmp_path, "inbox = '/srv/in'"), environment={}, flags=raw())


# Folders.


@pytest.mark.parametrize(
    ("name", "path", "other"),
    [
        ("done", f"{ROOT}/inbox", "inbox"),
        ("done", f"{ROOT}/inbox/done", "inbox"),
        ("failed", f"{ROOT}/inbox/a/b/failed", "inbox"),
        ("state", f"{ROOT}/done/.state", "done"),
        ("inbox", f"{ROOT}/failed/inbox", "failed"),
        ("state", f"{ROOT}/x/../inbox/state", "inbox"),
    ],
)
def test_folders_may_not_overlap(name: str, path: str, other: str) -> None:
    """F12, F70: what is filed must not be found again."""
    line = refusal(folders={name: path})
    assert f"{ROOT}/{other}" in line
    assert f"folders.{name} = " in line
    assert f"folders.{other} = " in line
    assert line.endswith("keep them apart")


@pytest.mark.parametrize("path", ["", "/srv/a\0b"])
def test_a_folder_without_a_name_is_refused(path: str) -> None:
    """F70: an empty variable must not turn the working directory into the inbox."""
    assert refusal(folders={"inbox": path}) == f"folders.inbox = {path!r}: give the path of a folder"


def test_a_folder_around_the_inbox_is_an_overlap_too() -> None:
    assert refusal(folders={"done": ROOT}).startswith(f"folders.inbox = {ROOT}/inbox lies in folders.done = {ROOT}")


def test_one_folder_under_two_keys_is_said_to_be_one() -> None:
    line = refusal(folders={"done": f"{ROOT}/inbox"})
    assert line == f"folders.inbox = {ROOT}/inbox is the same folder as folders.done = {ROOT}/inbox: keep them apart"


def test_what_config_show_prints_can_be_read_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every key stands on a line, however long its meaning is."""
    settings = made()
    show(settings, json=False)
    assert load(file=write(tmp_path, capsys.readouterr().out), environment={}, flags={}) == settings


def test_the_meaning_of_a_key_stands_above_it_for_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 5: eighty columns, with the values that can be."""
    show(made(), json=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if line.startswith("# ")) <= 80
    above, value = lines[lines.index('layout = "{date}/{path}"') - 1 :][:2]
    assert above.startswith("# The path of a file in done/")
    assert value == 'layout = "{date}/{path}"'
    assert any(line.endswith("One of `auto`, `events`, `poll`.") for line in lines)


def test_folders_that_begin_alike_do_not_overlap() -> None:
    assert made(folders={"done": f"{ROOT}/inbox-done"}).folders.done == Path(ROOT, "inbox-done")


def test_a_symlink_does_not_hide_an_overlap(tmp_path: Path) -> None:
    """F25."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "inbox")
    line = refusal(folders={"inbox": str(tmp_path / "inbox"), "done": str(tmp_path / "link" / "done")})
    assert "folders.done" in line


def test_nothing_is_made_or_opened(tmp_path: Path) -> None:
    """F70: before any file is touched."""
    made(folders={n: str(tmp_path / n) for n in ("inbox", "done", "failed", "state")})
    assert os.listdir(tmp_path) == []


# The service and who we are.


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pacs.test/v2",
        "ftp://pacs.test/v2",
        "https://",
        "https:///v2",
        "https://[::1/v2",
        "https://pacs.test:port/v2",
        "https://pacs.test:70000/v2",
        "https://pacs.test:0/v2",
        " https://pacs.test/v2",
        "https://pacs.test/v2\n",
        "https://pacs.test/v 2",
        "https://pacs.test/v2\x00",
    ],
)
def test_a_url_that_can_not_work_is_refused(url: str) -> None:
    """F70: a line end from a mounted secret among them."""
    line = refusal(service={"url": url})
    assert line.startswith(f"service.url = {url!r}: ")


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@pacs.test/v2",
        "https://user:hun/ter2@pacs.test/v2",
        "https://hunter2@pacs.test/v2",
        "https://pacs.test/v2?sig=hunter2",
        "https://pacs.test/v2#hunter2",
    ],
)
def test_a_secret_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    """I7, F65."""
    line = refusal(service={"url": url})
    assert line == "service.url: give the URL without user, password, query or fragment"


@pytest.mark.parametrize(
    "sections",
    [
        {"auth": {"client_secret": "hunter2"}},
        {"auth": {"pasword": "hunter2"}},
        {"auth": {"scope": ["hunter2"]}},
        {"service": {"api_token": "hunter2"}},
        {"service": {"ulr": "https://user:hunter2@pacs.test/v2"}},
        {"folders": {"proxy": "http://user:hunter2@proxy.test:3128"}},
        {"auht": {"client_secret": "hunter2"}},
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(sections: dict[str, dict[str, str]]) -> None:
    """I7, F65: the key is named, the value is not."""
    assert "hunter2" not in refusal(**sections)


@pytest.mark.parametrize(
    "url",
    [
        "https://WORKSPACE-SERVICE.dicom.azurehealthcareapis.com/v2",
        "https://<workspacename-dicomservicename>.dicom.azurehealthcareapis.com/v2",
        "https://workspacename-dicomservicename.dicom.azurehealthcareapis.com/v2",
        "https://{workspace-name}-{dicom-service-name}.dicom.azurehealthcareapis.com/v{version}",
        f"{URL[:-2]}v<version>",
        "{Service URL}/v2",
        "https://...",
        "https://.../v2",
    ],
)
def test_an_example_is_not_taken_for_a_url(url: str) -> None:
    """F70: of our own pages and of Microsoft's; a host that is none would be an outage for ever."""
    assert refusal(service={"url": url}).startswith(
        f"service.url = {url!r}: this is an example: put your service's own"
    )


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("https://ws-dicom.dicom.azurehealthcareapis.com", URL),
        ("https://WS-DICOM.dicom.azurehealthcareapis.com/", URL.replace("ws-dicom", "WS-DICOM")),
        ("https://ws-dicom.dicom.azurehealthcareapis.us/partitions/ward", URL.replace(".com", ".us")),
        ("https://ws-dicom.dicom.azurehealthcareapis.com/studies", URL),
        (f"{URL}/studies", URL),
        (f"{URL}/Studies/", URL),
        ("https://pacs.test/dicom-web/studies", "https://pacs.test/dicom-web"),
        ("http://127.0.0.1/studies", "http://127.0.0.1"),
    ],
)
def test_a_url_that_leads_past_the_service_says_which_one_leads_there(url: str, right: str) -> None:
    """F70: it would draw 404 for each file."""
    line = refusal(service={"url": url})
    assert line.startswith(f"service.url = {url!r}: ")
    assert line.endswith(f" {right}")
    assert made(service={"url": right}).service.url == right


@pytest.mark.parametrize(
    "url",
    [
        URL.replace("v2", "v1"),
        URL.replace("v2", "v1.0-prerelease"),
        f"{URL}/partitions/ward-1",
        "https://workspace-service.dicom.azurehealthcareapis.com/v2",
        "https://pacs.test",
        "https://pacs.test/studies/rs",
    ],
)
def test_a_url_that_only_looks_odd_is_taken(url: str) -> None:
    assert made(service={"url": url}).service.url == url


def test_a_slash_at_the_urls_end_makes_no_difference() -> None:
    assert made(service={"url": URL + "/"}).service.url == URL


@pytest.mark.parametrize(
    "url", ["http://pacs.test/v2", "http://10.0.0.1/v2", "http://localhost.test/", "http://0.0.0.0/v2"]
)
def test_plain_http_off_loopback_has_to_be_allowed(url: str) -> None:
    """F70: patients' data would travel unencrypted."""
    line = refusal(service={"url": url})
    assert line.startswith(f"service.url = {url.rstrip('/')} is not encrypted: ")
    assert "service.allow_http = true" in line
    assert made(service={"url": url, "allow_http": True}).service.url == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8042/dicom-web", "http://[::1]/v2", "http://LOCALHOST/v2", "http://127.8.8.8"]
)
def test_plain_http_on_loopback_is_fine(url: str) -> None:
    assert made(service={"url": url}).service.url == url


def test_a_token_file_goes_with_its_mode_and_with_no_other() -> None:
    """A key without an effect is a mistake."""
    assert made(auth={"mode": "token-file", "token_file": "/run/token"}).auth.token_file == Path("/run/token")
    assert refusal(auth={"mode": "token-file"}) == "auth.mode = token-file needs auth.token_file"
    line = refusal(auth={"mode": "default", "token_file": "/run/token"})
    assert (
        line
        == "auth.token_file has no effect while auth.mode = default: set auth.mode = workload-identity or token-file"
    )


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.lists(st.text(max_size=5), max_size=3)
)


def complaint(section: str, key: str, value: object) -> str | None:
    """What load says to one odd key, or None where it takes it; any other error fails the test."""
    try:
        load(file=None, environment={"INGESTD_CONFIG": os.devnull}, flags=raw(**{section: {key: value}}))
    except ConfigurationError as error:
        return str(error)
    return None


@given(st.sampled_from([*Settings.model_fields, "nonsense"]), st.text(st.characters(codec="utf-8"), min_size=1), values)
def test_a_key_that_nobody_knows_is_a_line_whatever_it_is_called(section: str, key: str, value: object) -> None:
    """F70."""
    if section == "nonsense" or key not in fields(section):
        assert complaint(section, key, value)


@given(st.data(), st.sampled_from(list(Settings.model_fields)), values)
def test_whatever_a_key_is_given_it_is_taken_or_named(data: st.DataObject, section: str, value: object) -> None:
    """F70."""
    key = data.draw(st.sampled_from(fields(section)))
    said = complaint(section, key, value)
    assert said is None or (f"{section}.{key}" in said and said.isprintable())


def fields(section: str) -> list[str]:
    annotation = Settings.model_fields[section].annotation
    assert annotation is not None
    return list(annotation.model_fields)


@pytest.mark.parametrize(
    ("files", "receipts", "fits"),
    [(None, None, True), (30, None, True), (None, 1, True), (30, 30, True), (0.5, 1, True), (30, 29.9, False)],
)
def test_receipts_are_kept_at_least_as_long_as_files(files: object, receipts: object, fits: bool) -> None:
    """DESIGN 5: exit 78; only its receipt proves that a file may be removed."""
    sections = {
        "done": {"retention_days": files} if files is not None else {},
        "journal": {"receipts_days": receipts} if receipts is not None else {},
    }
    if fits:
        assert made(**sections).done.retention_days == files
    else:
        assert refusal(**sections) == (
            "journal.receipts_days = 29.9 is shorter than done.retention_days = 30: "
            "only its receipt proves that a file may be removed, so keep receipts at least as long"
        )


@pytest.mark.parametrize("value", [0, -1, "forever", "nan", "inf", 1e9])
@pytest.mark.parametrize(("section", "key"), [("done", "retention_days"), ("journal", "receipts_days")])
def test_days_are_more_than_none(section: str, key: str, value: object) -> None:
    """0 could mean at once or never: done.action = delete is the one, no key at all the other."""
    assert refusal(**{section: {key: value}}).startswith(f"{section}.{key} = ")
