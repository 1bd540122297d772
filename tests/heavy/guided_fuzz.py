"""The same as fuzz.py, led by coverage: a file that reached something new in a reader is changed further (atheris).

    PYTHONPATH=tests python tests/heavy/guided_fuzz.py --inputs 20000 [--seed 0] [--only jpeg] [--keep FOLDER]

What is reached is seen in the package's own readers and in Pillow's and PyYAML's Python. The bounds are fuzz.py's, the
changes its own and libFuzzer's in turn. `pip install 'spp_det[fuzz]'` (Linux, x86-64).
"""

from __future__ import annotations

import os
import random
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import atheris

PACKAGE = Path(__file__).parents[2] / "spp_det"
COMPILED = [  # numba reads their code, which must stay as it is
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if "import numba" in path.read_text() or "from numba" in path.read_text()
]

with atheris.instrument_imports(include=["spp_det", "PIL", "yaml"], exclude=COMPILED):
    import fuzz
    from corpora import Reader
    from mutation import mutate


def guided(found: Path) -> fuzz.Work:
    """What makes and reads files in a process of its own. found: the folder of the files that reached something new."""

    def work(reader: Reader, name: str, numbers: range, seed: int, answers: Connection) -> None:
        before, left, folder = fuzz.bound_process(), iter(numbers), found / name
        if not folder.exists():
            folder.mkdir()
            for number, content in enumerate(reader.corpus):
                (folder / str(number)).write_bytes(content)

        def read(content: bytes) -> None:
            number = next(left, None)
            if number is None:
                answers.send(("end",))
                os._exit(0)
            fuzz.read_one(reader, number, content, answers, before)

        def change(content: bytes, most: int, seed: int) -> bytes:
            rng = random.Random(seed)
            if rng.random() < 0.5:
                changed = atheris.Mutate(content, most)
            else:
                changed = mutate(rng, [content, content, content, *reader.corpus], reader.text)
            return (reader.mend(changed) if reader.mend and rng.random() < 0.5 else changed)[:most]

        longest = max(map(len, reader.corpus))
        bounds = ["-timeout=100000", "-rss_limit_mb=0"]  # ours are narrower
        options = [f"-seed={seed + 1}", f"-max_len={2 * longest + 4096}", *bounds]
        atheris.Setup([name, *options, str(folder)], read, custom_mutator=change)
        atheris.Fuzz()

    return work


def main() -> int:
    """Read, and say how many files led on."""
    with tempfile.TemporaryDirectory() as folder:
        code = fuzz.main(guided(Path(folder)), __doc__)
        print(f"{sum(1 for path in Path(folder).glob('*/*'))} files led on, those that were right among them")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
