"""Small datasets in the layouts that people have, drawn by the tests."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES = ("blue_whale", "green_frog", "red_fox")


def encoded(seed, form="PNG"):
    """The bytes of a small picture."""
    pixels = np.kron(np.random.default_rng(seed).integers(0, 256, (4, 4, 3)), np.ones((9, 9, 1))).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def write_tar(path, members):
    """A tar of (name, bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    return path


def draw_webdataset(root, parts=(("train", 12), ("test", 6)), shards=2, classes=CLASSES):
    """CLIP_benchmark's layout; picture i is of class i mod C."""
    for part, n in parts:
        for shard in range(shards):
            here = [i for i in range(n) if i * shards // n == shard]
            write_tar(root / part / f"{shard}.tar", [pair for i in here for pair in sample(part, i, len(classes))])
        (root / part / "nshards.txt").write_text(f"{shards}\n")
    (root / "classnames.txt").write_text("\n".join(classes) + "\n")
    (root / "zeroshot_classification_templates.txt").write_text("a photo of a {c}, a type of animal.\na {c}.\n")
    return root


def sample(part, i, classes):
    ending, form = (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"))[i % 3]
    return [(f"s{i:07d}.{ending}", encoded(seed(part, i), form)), (f"s{i:07d}.cls", str(i % classes).encode())]


def seed(part, i):
    return 1000 * len(part) + i


def table(part, rows, classes=CLASSES, names=True, image="bytes", label=None):
    """A table as `datasets` makes it of pictures `rows`."""
    if image == "bytes":
        images = pa.array([{"bytes": encoded(seed(part, i)), "path": f"{i}.png"} for i in rows])
    elif image == "paths":
        images = pa.array(
            [{"bytes": None, "path": f"files/{part}{i}.png"} for i in rows], pa.struct({"bytes": pa.binary(), "path": pa.string()})
        )
    else:
        images = pa.array([encoded(seed(part, i)) for i in rows], pa.binary())
    labels = pa.array([i % len(classes) for i in rows] if label is None else label, pa.int64() if names else None)
    made = pa.table({"image": images, "label": labels})
    features = {"image": {"_type": "Image"}, "label": {"names": list(classes), "_type": "ClassLabel"}}
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}) if names else made


def draw_parquet(root, parts=(("train", 12), ("test", 6)), shards=2, **how):
    """Shards as a hub repository holds them, in row groups of two pictures."""
    (root / "data").mkdir(parents=True)
    for part, n in parts:
        for shard in range(shards):
            rows = [i for i in range(n) if i * shards // n == shard]
            pq.write_table(
                table(part, rows, **how), root / "data" / f"{part}-{shard:05d}-of-{shards:05d}.parquet", row_group_size=2
            )
    return root


def write_stream(path, made, batch=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
        writer.write_table(made, max_chunksize=batch)


def draw_saved(root, parts=(("train", 12), ("test", 6))):
    """A DatasetDict as `save_to_disk` leaves it."""
    for part, n in parts:
        write_stream(root / part / "data-00000-of-00001.arrow", table(part, range(n)))
        (root / part / "dataset_info.json").write_text("{}")
        (root / part / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (root / "dataset_dict.json").write_text(json.dumps({"splits": [part for part, _ in parts]}))
    return root
