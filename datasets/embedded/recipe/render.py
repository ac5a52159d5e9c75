"""Step 1: draw every usable icon as a 64 x 64 picture.

    python render.py --icons PACKAGE --work DIR [--jobs N]

PACKAGE is the unpacked npm package `@iconify/json`. Writes DIR/render/<set>.npz, one file per icon set: `names`, and `pixels`,
which is [n, 64, 64] (coverage only) for one-colour sets and [n, 64, 64, 4] (straight RGBA) for coloured ones. Icons that fail
or come out blank are left out. A set that is already there is skipped, so a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import io
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image
from sets import load_set, usable_sets
from tqdm import tqdm

SIZE = 64


def draw(data: dict, name: str) -> np.ndarray | None:
    """One icon as [64, 64, 4] straight RGBA, or None where it fails or nothing is visible."""
    icon = data["icons"][name]
    box = [icon.get(key, data.get(key, default)) for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))]
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="#000" '
        f'width="{SIZE}" height="{SIZE}" viewBox="{" ".join(map(str, box))}">{icon["body"]}</svg>'
    )
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE))
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))
    except Exception:  # noqa: BLE001 - a broken drawing of any kind is one icon fewer
        return None
    if pixels.shape[:2] != (SIZE, SIZE) or pixels[..., 3].mean() < 1:
        return None
    return pixels


def render_set(icons: Path, prefix: str, coloured: bool, target: Path) -> tuple[int, int]:
    """Draw one set and write it aside, then rename; returns (drawn, left out)."""
    data = load_set(icons, prefix)
    names, pixels, lost = [], [], 0
    for name, icon in data["icons"].items():
        if icon.get("hidden"):
            continue
        drawn = draw(data, name)
        if drawn is None:
            lost += 1
            continue
        names.append(name)
        pixels.append(drawn if coloured else drawn[..., 3])
    aside = target.with_suffix(".part.npz")
    np.savez(aside, names=np.array(names), pixels=np.stack(pixels))
    aside.rename(target)
    return len(names), lost


def main() -> None:
    """Render every set that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--icons", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    out = args.work / "render"
    out.mkdir(parents=True, exist_ok=True)
    todo = {p: i for p, i in usable_sets(args.icons).items() if not (out / f"{p}.npz").exists()}
    drawn = lost = 0
    largest_first = sorted(todo, key=lambda p: -todo[p]["total"])
    with ProcessPoolExecutor(args.jobs) as pool, tqdm(total=sum(i["total"] for i in todo.values()), unit="icon") as bar:
        jobs = {pool.submit(render_set, args.icons, p, bool(todo[p].get("palette")), out / f"{p}.npz"): p for p in largest_first}
        for job in as_completed(jobs):
            done, failed = job.result()
            drawn, lost = drawn + done, lost + failed
            bar.update(done + failed)
            bar.set_postfix_str(jobs[job])
    print(f"{drawn} icons drawn, {lost} left out")


if __name__ == "__main__":
    main()
