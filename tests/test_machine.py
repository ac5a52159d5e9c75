"""What a process keeps of its memory, measured in one of its own."""

import ctypes
import os
import subprocess
import sys

import pytest

from bench.machine import keep_freed_memory

TAKE_AND_FREE = """
import ctypes, pathlib, resource, sys
from bench.machine import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
resident = lambda: int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20
before = resident()
for turn in range(3):
    blocks = [libc.malloc(8 << 20) for _ in range(10)]
    for block in blocks:
        ctypes.memset(block, 1, 8 << 20)
    for block in blocks:
        libc.free(block)
print(resident() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_freed_memory_is_kept():
    """80 MB in ten blocks, three times: without a word to the C library the system has them back at the end."""
    others = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")  # a user's own settings, or another library
    plain = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    left = {
        word: int(subprocess.run([sys.executable, "-c", TAKE_AND_FREE, word], env=plain, capture_output=True, check=True).stdout)
        for word in ("leave", "keep")
    }
    assert left["leave"] < 40
    assert left["keep"] > 70


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False
