"""Memory that stays with the process."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h of glibc
LARGE = 2**31 - 1


@cache
def keep_memory() -> None:
    """Let the C library keep what is freed, rather than give it back to the system and ask for it again.

    The maps and vectors of an image are tens of MB that are needed anew for the next one, and every page of fresh
    memory costs a fault: a pass of EfficientNet-Lite0 over a 600 x 800 image has over 10,000 of them without this,
    and none with it. Only glibc has the switch; elsewhere nothing happens. Safe to call at any time, and again.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, LARGE)
    mallopt(M_TOP_PAD, 64 << 20)
