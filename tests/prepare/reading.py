"""What reading images costs, by where they lie: python tests/prepare/reading.py [IMAGES]. Prints times and memory; asserts nothing.

JPEGs of 500 × 375 in a folder, in tar shards and in parquet shards (1,000 images each, in row groups of 100, as the hub has them)
are read in the order of extraction: their bytes alone, and decoded. Each reading has a process of its own. Its CPU time is told,
which a busy machine changes little, and its peak memory for a quarter of the images and for all: it is flat where both are alike.
Readings take turns, and the median of three is printed.
"""

import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.prepare.images import image_reader

FORMS = {"folders": "files", "webdataset": "tar", "huggingface": "parquet"}
SHARD, GROUP, DRAWN = 1000, 100, 100


def lay(root: Path, count: int) -> None:
    """Write the same images in all three layouts."""
    from bench.prepare.speed import draw  # here, as what it imports takes more memory than all that is read

    (root / "drawn").mkdir()
    data = [(root / "drawn" / name).read_bytes() for name in draw(root / "drawn", DRAWN)]
    for form in FORMS:
        (root / form).mkdir()
    for first in range(0, count, SHARD):
        numbers = range(first, min(first + SHARD, count))
        with tarfile.open(root / "webdataset" / f"{first // SHARD}.tar", "w") as tar:
            for i in numbers:
                (root / "folders" / f"{i:07d}.jpg").write_bytes(data[i % DRAWN])
                about = tarfile.TarInfo(f"{i:07d}.jpg")
                about.size = len(data[i % DRAWN])
                tar.addfile(about, io.BytesIO(data[i % DRAWN]))
        rows = pa.table({"image": [{"bytes": data[i % DRAWN], "path": f"{i}.jpg"} for i in numbers], "label": [0] * len(numbers)})
        pq.write_table(rows, root / "huggingface" / f"train-{first // SHARD:05d}.parquet", row_group_size=GROUP)


def name(form: str, i: int) -> str:
    shard, row = divmod(i, SHARD)
    return {"folders": f"{i:07d}.jpg", "webdataset": f"{shard}.tar/{i:07d}.jpg"}.get(form, f"train-{shard:05d}.parquet/{row:07d}")


def read(root: Path, form: str, count: int, *, decoded: bool) -> None:
    """Read `count` images; print CPU milliseconds per image and the peak memory in MiB."""
    images = image_reader(form, root / form)
    work = images if decoded else images.data
    started = time.process_time()
    for i in range(count):
        work(name(form, i))
    taken = time.process_time() - started
    status = Path("/proc/self/status").read_text(encoding="ascii")  # getrusage's peak is the parent's, too
    print(1000 * taken / count, int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lay(Path(folder), count)
        for how in ("bytes", "decoded"):
            taken: dict[tuple[str, int], list[list[float]]] = {(form, n): [] for n in (count // 4, count) for form in FORMS}
            for _ in range(3):
                for (form, n), found in taken.items():
                    words = [sys.executable, __file__, folder, form, str(n), how]
                    found.append(
                        [float(x) for x in subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()]
                    )
            for (form, n), found in taken.items():
                milliseconds, memory = (statistics.median(values) for values in zip(*found, strict=True))
                print(
                    f"{how:8} {FORMS[form]:8} {n:6} images  {milliseconds:7.3f} CPU ms per image  peak {memory:6.0f} MiB",
                    flush=True,
                )


if __name__ == "__main__":
    if len(sys.argv) > 2:
        read(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), decoded=sys.argv[4] == "decoded")
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 10000)
