"""What every task consists of on disk: a card, a split file, a contact sheet, and (in the work folder) its pictures."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 64
SIDES = ("train", "val", "test")


@dataclass(frozen=True)
class Picture:
    """One picture of a task: its key in the split file, its side, its label, and its pixels [64, 64, 3]."""

    key: str
    side: str
    label: int
    pixels: np.ndarray


def on_white(pixels: np.ndarray) -> np.ndarray:
    """A rendered icon, coverage only or RGBA, as RGB on white."""
    if pixels.ndim == 2:
        return np.repeat(255 - pixels[..., None], 3, -1)
    alpha = pixels[..., 3:].astype(np.float32) / 255
    return (pixels[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)


def write_task(
    datasets: Path,
    work: Path,
    *,
    name: str,
    title: str,
    domain: str,
    template: str,
    classes: list[str],
    pictures: list[Picture],
    licence: str,
    citation: str,
) -> None:
    """Write a task's card, split, contact sheet and pictures."""
    keys = [picture.key for picture in pictures]
    if len(set(keys)) != len(keys):
        raise ValueError(f"{name}: a picture is in the task twice: {[k for k, n in Counter(keys).items() if n > 1][:3]}")
    folder = datasets / "embedded" / "tasks" / name
    folder.mkdir(parents=True, exist_ok=True)
    split = {side: [[p.key, p.label, classes[p.label]] for p in pictures if p.side == side] for side in SIDES}
    (folder / "split.json").write_text(json.dumps(split, separators=(",", ":"), ensure_ascii=False) + "\n", encoding="utf-8")
    card: dict[str, Any] = {
        "name": name,
        "title": title,
        "domain": domain,
        "templates": [template],
        "classes": classes,
        "counts": {side: len(split[side]) for side in SIDES},
        "split": f"embedded/tasks/{name}/split.json",
        "features": f"embedded/tasks/{name}",
        "licence": licence,
        "citation": citation,
        "how_to_get": "Ships with the suite.",
    }
    (datasets / f"{name}.toml").write_text("".join(f"{key} = {_toml(value)}\n" for key, value in card.items()), encoding="utf-8")
    contact_sheet(classes, pictures).save(folder / "contact_sheet.png", optimize=True)
    pixels = work / "tasks"
    pixels.mkdir(parents=True, exist_ok=True)
    np.savez(pixels / f"{name}.npz", keys=np.array(keys), pixels=np.stack([picture.pixels for picture in pictures]))


def _toml(value: Any) -> str:
    """A value as TOML; its strings and lists are JSON's."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def contact_sheet(classes: list[str], pictures: list[Picture], columns: tuple[int, int, int] = (8, 2, 8)) -> Image.Image:
    """One row per class: some of its train, val and test pictures, with the class name in front."""
    cell, label_width, head = 40, 170, 18
    width = label_width + sum(columns) * cell + 2 * 8
    sheet = Image.new("RGB", (width, head + len(classes) * cell), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    left = label_width
    for side, count in zip(SIDES, columns, strict=True):
        draw.text((left + 2, 2), side, fill="#888", font=font)
        for number in range(len(classes)):
            shown = [p for p in pictures if p.side == side and p.label == number][:count]
            for column, picture in enumerate(shown):
                small = Image.fromarray(picture.pixels).resize((cell - 4, cell - 4), Image.Resampling.BOX)
                sheet.paste(small, (left + column * cell + 2, head + number * cell + 2))
        left += count * cell + 8
    for number, name in enumerate(classes):
        draw.text((4, head + number * cell + 12), name, fill="black", font=font)
    return sheet.quantize(64)
