"""`delete`: says what goes, asks, and says what went. What the service deletes does not come back."""

from __future__ import annotations

import sys

from ingestd.cli.options import Exit
from ingestd.cli.service.attributes import first
from ingestd.cli.service.screen import Screen, is_interactive
from ingestd.cli.terminal import many
from ingestd.dicomweb.asking.resources import Level, Resource
from ingestd.dicomweb.asking.search import describe, instances
from ingestd.dicomweb.asking.session import Session
from ingestd.dicomweb.origin.failures import Doing

_DESCRIPTION = ("00100010", "00100020", "00080020", "0008103E")


def run_delete(screen: Screen, resource: Resource, *, yes: bool) -> Exit:
    """Exit 1: there was none such, or the person said no."""
    doing = Doing(what=f"delete {resource.level.one} {resource.uid}", feature="no delete", role="DICOM Data Owner")
    with screen.session() as session:
        if not yes:
            if not is_interactive():
                print("ingestd: delete: nobody is there to ask: give --yes", file=sys.stderr)
                return Exit.USAGE
            screen.text(f"{_what(session, resource, doing)} will be deleted from {session.url}, for good.")
            if not _agreed():
                screen.text("nothing was deleted")
                return Exit.SOME_FAILED
        session.delete(resource.path, doing)
    if screen.json:
        screen.emit({"deleted": resource.level.one, "uid": resource.uid})
    else:
        screen.text(f"deleted: {resource.level.one} {resource.uid}")
    return Exit.DONE


def _agreed() -> bool:
    try:
        return input("Delete? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _what(session: Session, resource: Resource, doing: Doing) -> str:
    found = describe(session, resource, what=doing.what)
    line = f"{resource.level.one.capitalize()} {resource.uid}"
    if found is None or resource.level is Level.INSTANCES:
        return line
    said = ", ".join(value for tag in _DESCRIPTION if (value := first(found, tag)))
    listed = instances(session, resource, what=doing.what)
    parts = [said, many(len(listed), "instance") if listed is not None else ""]
    return f"{line} ({', '.join(part for part in parts if part)})" if any(parts) else line
