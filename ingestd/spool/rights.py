"""Who may move a file out of an open folder, and what to say where nobody may."""

from __future__ import annotations

import os
import stat


def may_write(folder: int) -> bool:
    """Whether names in the folder may be made and removed. The kernel is asked, because an ACL shows in no mode bits."""
    return os.access(".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True)


def denied_by(source: int | None) -> str:
    """Which folder lets nothing go, and how to mend it; `source` is the one in which the file lies."""
    try:
        if source is not None and not may_write(source):
            return "allow the service's user to write in the file's folder in the inbox (owner, mode or ACL: getfacl)"
        if source is not None and os.fstat(source).st_mode & stat.S_ISVTX:
            return (
                "allow the service's user to move others' files out of their folder in the inbox (sticky bit: chmod -t)"
            )
    except OSError:
        pass
    return "allow the service's user to write in inbox, done and failed (owner, mode, ACL: getfacl; attributes: lsattr)"
