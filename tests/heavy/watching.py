"""What is asked of processes that are watched."""

from __future__ import annotations

import math
import os
from pathlib import Path


def processor_seconds(process: int) -> float:
    """What a process has used so far; infinite for one that has ended and is not waited for yet."""
    state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return math.inf if state == "Z" else (int(fields[10]) + int(fields[11])) / os.sysconf("SC_CLK_TCK")
