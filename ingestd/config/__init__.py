"""The settings: read once, validated once, frozen."""

from ingestd.config.loading import FolderSettings, Raw, load, load_folders
from ingestd.config.sections import Auth, Folders, Section, Service, Settings

__all__ = ["Auth", "FolderSettings", "Folders", "Raw", "Section", "Service", "Settings", "load", "load_folders"]
