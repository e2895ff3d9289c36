"""The settings: read once, validated once, frozen."""

from ingestd.config.loading import FolderSettings, Raw, ServiceSettings, load, load_folders, load_service, unread
from ingestd.config.section import Section
from ingestd.config.sections import Folders, Settings
from ingestd.config.service import Auth, Service

__all__ = [
    "Auth",
    "FolderSettings",
    "Folders",
    "Raw",
    "Section",
    "Service",
    "ServiceSettings",
    "Settings",
    "load",
    "load_folders",
    "load_service",
    "unread",
]
