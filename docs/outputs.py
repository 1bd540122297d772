"""Runs the commands of docs/command-line.md, one after the other, and writes what they print into the page.

python docs/outputs.py

A command stands in a comment, `<!-- run: COMMAND -->`, and the block behind it takes its output; `<!-- fails: COMMAND
-->` is one that ends with an exit code other than 0. All run in one empty folder, and take some minutes. Those of
spp-det run in this process, which imports torch once; `< FILE` is their standard input.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from spp_det import cli
from spp_det.tooling import run_tool

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "command-line.md"
BLOCK = re.compile(r"<!-- (run|fails): (.+?) -->\n```text\n.*?```\n", re.S)
PROGRESS = re.compile(r"^  [\w, -]+: \d+/[\d?]+.*\n", re.M)  # lines that stand in for a bar where no terminal is


def main() -> None:
    """Run every command of the page, and write the page anew."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    sys.argv = ["spp-det"]  # as its help calls itself
    os.environ.update({"PATH": programs, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "96"})
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for found in BLOCK.finditer(text):
            text = text.replace(found[0], block(found[1], found[2]))
            PAGE.write_text(text, encoding="utf-8")


def block(kind: str, command: str) -> str:
    """The comment and the block of one command, with what it prints now."""
    print(command, flush=True)
    printed, code = run_here(command) if command.startswith("spp-det ") else run_apart(command)
    if (code == 0) != (kind == "run"):
        sys.exit(f"{command}: exit code {code}\n{printed}")
    printed = PROGRESS.sub("", printed).replace(f"{ROOT}/", "")
    lines = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    ending = "" if kind == "run" else f"(exit code {code})\n"
    return f"<!-- {kind}: {command} -->\n```text\n$ {command}\n{lines}{ending}```\n"


def run_here(command: str) -> tuple[str, int]:
    """(what it prints, the exit code) of a command of spp-det."""
    words, _, file = command.partition(" < ")
    content = Path(file).read_bytes() if file else b""
    out, before = io.StringIO(), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(content))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            run_tool(lambda _: cli.run(shlex.split(words)[1:]))
    except SystemExit as end:
        return out.getvalue(), int(end.code or 0)
    finally:
        sys.stdin = before
    return out.getvalue(), 0


def run_apart(command: str) -> tuple[str, int]:
    """Likewise of any other command."""
    done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout, done.returncode


if __name__ == "__main__":
    main()
