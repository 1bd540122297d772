"""Peak memory of selective search over the imports, measured in a process of its own.

python -m spp_det.evaluation.proposal_memory IMAGE.npy MODE    prints the MB

Linux only: it reads /proc/self/status. What getrusage calls the peak is that of the parent process too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from spp_det.errors import ConfigError
from spp_det.proposals import selective_search
from spp_det.structures import Image

STATUS = Path("/proc/self/status")


def peak_memory(image: Image, mode: str = "fast") -> float:
    """MB (10^6 bytes) that selective search of an image, uint8 [H, W, 3], takes at most over the imports.

    The image itself, the windows and the compiled code that is loaded all count. Raises ConfigError where the system
    does not tell.
    """
    if not STATUS.exists():
        raise ConfigError(f"peak memory is read from {STATUS}, which this system does not have")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.npy"
        np.save(path, image)
        line = [sys.executable, "-m", __name__, str(path), mode]
        done = subprocess.run(line, stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout)


def main(path: str, mode: str) -> None:
    """The measured process."""
    imports = _status("VmRSS")
    image = np.load(path)
    selective_search(image, mode)
    print(_status("VmHWM") - imports)


def _status(name: str) -> float:
    """MB of this process: VmRSS now, VmHWM at most until now."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main(*sys.argv[1:])
