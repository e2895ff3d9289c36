"""The settings: read once, validated once, frozen."""

from ingestd.config.loading import Raw, load
from ingestd.config.sections import Auth, Folders, Section, Settings

__all__ = ["Auth", "Folders", "Raw", "Section", "Settings", "load"]
