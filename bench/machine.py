"""What this machine has left."""

from pathlib import Path


def free_memory(unknown: float) -> float:
    """Bytes of memory that are free; `unknown` where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return unknown
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), unknown)
