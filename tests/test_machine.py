"""What a process keeps of its memory, measured from outside in one of its own."""

import ctypes
import subprocess
import sys

import pytest

from bench.machine import keep_freed_memory

TAKE_AND_FREE = """
import ctypes, resource, sys
from bench.machine import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
for turn in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(8 << 20) for _ in range(10)]
    for block in blocks:
        ctypes.memset(block, 1, 8 << 20)
    for block in blocks:
        libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_freed_memory_is_kept():
    """80 MB in ten blocks, the fourth time: without a word to the C library its pages are mapped anew."""
    pages = {
        word: int(subprocess.run([sys.executable, "-c", TAKE_AND_FREE, word], capture_output=True, text=True, check=True).stdout)
        for word in ("leave", "keep")
    }
    assert pages["leave"] > 10_000
    assert pages["keep"] < 100


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False
