"""The documentation's site builds without a broken link and has every page."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def pages(entries: list[dict[str, Any]]) -> list[str]:
    """The pages of a navigation, in its order."""
    places = [place for entry in entries for place in entry.values()]
    return [page for place in places for page in ([place] if isinstance(place, str) else pages(place))]


def test_the_site_builds_and_nothing_in_it_is_missing(tmp_path: Path) -> None:
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("zensical.toml", "data/README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "spp_det").symlink_to(ROOT / "spp_det")
    command = [Path(sys.executable).with_name("zensical"), "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in DOCS.rglob("*.md"):
        place = tmp_path / "site" / page.relative_to(DOCS).with_suffix("") / "index.html"
        text = (tmp_path / "site/index.html" if page.stem == "index" else place).read_text()
        wanted = re.findall(r"^::: (\S+)$", page.read_text(), re.M)
        assert [name for name in wanted if f'id="{name}"' not in text] == []
    shown = html.unescape(re.sub(r"<[^>]+>", "", (tmp_path / "site/examples/index.html").read_text()))
    examples = {path.name: path.read_text().partition("\n")[0] for path in (ROOT / "examples").glob("*.py")}
    assert [name for name, first_line in examples.items() if first_line not in shown] == []


def test_every_page_is_in_the_navigation() -> None:
    shown = pages(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    assert sorted(shown) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_every_block_of_the_command_line_has_its_output() -> None:
    text = (DOCS / "command-line.md").read_text()
    blocks = re.findall(r"<!-- (?:run|fails): (.+?) -->\n```text\n(.*?)```\n", text, re.S)
    assert 0 < len(blocks) == text.count("<!-- ")
    assert [command for command, printed in blocks if not printed.startswith(f"$ {command}\n")] == []
