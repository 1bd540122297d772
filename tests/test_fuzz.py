"""A share of `make fuzz`: changed files through every reader, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def test_changed_files_give_documented_errors_alone(tmp_path: Path) -> None:
    command = [sys.executable, str(TESTS / "heavy" / "fuzz.py"), "--inputs", "900", "--seed", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    done = subprocess.run(
        [*command, "--keep", str(tmp_path / "faults")], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "900 files, 0 faults" in done.stdout
