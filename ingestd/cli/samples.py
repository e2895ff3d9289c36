"""`emulator --samples DIR`: the three images of Microsoft's tutorials, so that there is something to store."""

from __future__ import annotations

from pathlib import Path

from ingestd.core.errors import ConfigurationError
from ingestd.emulator.samples import tutorial_samples


def write_samples(folder: Path) -> None:
    """Raises ConfigurationError where they can't be written, or another file of such a name is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for sample in tutorial_samples():
            target = folder / sample.name
            if target.exists() and target.read_bytes() != sample.content:
                raise ConfigurationError(f"--samples {folder}: another {sample.name} is there: give another folder")
            target.write_bytes(sample.content)
    except OSError as error:
        raise ConfigurationError(
            f"--samples {folder}: can't be written: {error.strerror}: give another folder"
        ) from None
