"""Derived seeds, so that comparisons are paired.

Every random choice takes a seed derived from the run's seed and named parts. The parts never hold the method or the noise rate:
all methods see the same shots, wrong labels, initial context and batch order, and wrong labels are nested over rates.
"""

import hashlib


def derive(seed: int, *parts: str) -> int:
    """A 63-bit seed from the run's `seed` and the named parts, the same on every machine."""
    text = "\x1f".join([str(seed), *parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
