"""A command as an ordinary user would run it, whoever runs the tests: root loses its capabilities, and keeps its own files.

The bounding set is emptied (prctl(2), PR_CAPBSET_DROP) before the program is executed, which then has none. For anyone else nothing
changes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

_DROP = """
import ctypes, os, sys
for capability in range(64):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def powerless(command: Sequence[str]) -> list[str]:
    """The command line that runs `command`, whose first word is a path, in the same process."""
    return [sys.executable, "-c", _DROP, *command]
