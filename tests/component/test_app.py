"""What the composition root puts together, with everything on."""

from __future__ import annotations

from pathlib import Path

from ingestd.app import application
from ingestd.config import Settings
from ingestd.ops.metric_table import THREADS


def test_every_supervised_thread_is_one_of_the_metrics_names(tmp_path: Path) -> None:
    """F10, I8: a restart of a thread that the table does not know would be counted as `other`."""
    for name in ("inbox", "done", "failed", "state"):
        (tmp_path / name).mkdir()
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    secret.chmod(0o600)
    settings = Settings(
        service={"url": "https://pacs.example.org/v2"},
        folders={name: tmp_path / name for name in ("inbox", "done", "failed", "state")},
        auth={"mode": "client-secret", "tenant_id": "t", "client_id": "c", "client_secret_file": secret},
        admin={"listen": "127.0.0.1:0"},
    )
    with application(settings) as app:
        assert sorted(thread.name for thread in app.daemon._threads) == sorted(THREADS)
