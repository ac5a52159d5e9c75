"""What this machine has left, and how a process holds on to it."""

import contextlib
import ctypes
from pathlib import Path

# glibc's mallopt: up to which size blocks are taken from the heap, and how much free space its end may have, in bytes
M_MMAP_THRESHOLD, LARGEST_ON_HEAP = -3, 32 << 20  # the most that glibc before 2.35 takes, on 64 bits
M_TRIM_THRESHOLD, KEPT = -1, 512 << 20


def free_memory(unknown: float) -> float:
    """Bytes of memory that are free; `unknown` where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return unknown
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), unknown)


def keep_freed_memory() -> bool:
    """Let this process keep what it frees: a training step takes the same megabytes again, and new pages cost up to a tenth of it.

    Returns:
        Whether the C library (glibc) took it; any other is left as it is.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # no such function, or no such library
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP) and mallopt(M_TRIM_THRESHOLD, KEPT))
    return False
