"""A Python process in which torch, torchvision and timm cannot be imported, as on a machine without them."""

from __future__ import annotations

import subprocess
import sys

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def run_without_torch(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in such a process, with the arguments in sys.argv[1:]."""
    command = [sys.executable, "-c", BLOCK + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
