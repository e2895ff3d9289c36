"""What the admin port of a daemon says."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
from fakes.ports import free_port


class AdminPages:
    """`setting` is for the daemon's environment; the rest asks it. What does not answer is status 0."""

    def __init__(self) -> None:
        self.port = free_port()
        self.setting = {"INGESTD_ADMIN__LISTEN": f"127.0.0.1:{self.port}"}

    def get(self, page: str) -> tuple[int, str]:
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/{page}", trust_env=False, timeout=5)
        except httpx.HTTPError:
            return 0, ""
        return answer.status_code, answer.text

    def ready(self) -> bool:
        return self.get("readyz")[0] == 200

    def red(self, words: str) -> bool:
        """/readyz says so, a line each cause and none twice, and /livez is none the worse."""
        status, text = self.get("readyz")
        causes = text.splitlines()
        once = len(set(causes)) == len(causes)
        return status == 503 and once and any(words in cause for cause in causes) and self.get("livez")[0] == 200

    def metric(self, sample: str) -> float:
        for line in self.get("metrics")[1].splitlines():
            if line.startswith(sample + " "):
                return float(line.rpartition(" ")[2])
        return -1.0


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
