"""What is said about a pretraining icon: short captions as the web has them, and long ones that fill the whole context.

Prompt tuning puts 16 learned tokens before a class name, so every position has to have been trained, with names at late
positions too: a quarter of the batches carries captions of 17 to 32 tokens, in which the name stands anywhere.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import numpy as np
from open_clip.tokenizer import SimpleTokenizer

CONTEXT, SHORT = 32, 16
_TEMPLATES = (
    "an icon of a {}.",
    "an icon of {}.",
    "a {} icon.",
    "{}",
    "{} icon",
    "a picture of a {}.",
    "a drawing of a {}.",
    "a symbol for {}.",
)
_WEIGHTS = (10, 4, 2, 4, 1, 1, 1, 1)


def _article(text: str, name: str) -> str:
    """Half of all writers say "an apple", the other half leaves the template alone, as zero-shot prompts do."""
    return text.replace("a {}", "an {}") if name[:1] in "aeiou" else text


def short_caption(icon: dict[str, Any], rng: random.Random) -> str:
    """The name in a template, sometimes an alias, sometimes with the style or category."""
    name = rng.choice(icon["aliases"]) if icon["aliases"] and rng.random() < 0.15 else icon["concept"]
    text = rng.choices(_TEMPLATES, _WEIGHTS)[0]
    if rng.random() < 0.5:
        text = _article(text, name)
    text = text.format(name)
    if icon["style"] and rng.random() < 0.15:
        text += f" {icon['style']}"
    elif icon["categories"] and rng.random() < 0.1:
        text += f" {rng.choice(icon['categories'])}"
    return text


def long_caption(icon: dict[str, Any], rng: random.Random) -> str:
    """Everything that is known about the icon, in any order, the name mostly late."""
    extras = [
        f"from the set {icon['set_title']}",
        f"drawn by {icon['author']}",
        f"in {icon['style'] or 'plain'} style",
        "one of many small drawings on a plain background",
        *(f"filed under {category}" for category in icon["categories"]),
        *(f"also called {alias}" for alias in icon["aliases"]),
        rng.choice(("a sign for screens", "in colour" if icon["coloured"] else "in one colour", "made for apps and the web")),
    ]
    rng.shuffle(extras)
    name = short_caption({**icon, "style": "", "categories": []}, rng)
    place = rng.choice((0, 1, 2, 2, 3, 3, len(extras)))
    return ", ".join([*extras[:place], name, *extras[place:]])


class Captioner:
    """Captions as token rows. Words are encoded once and remembered, which makes it fast enough to do during training."""

    def __init__(self, tokenizer: SimpleTokenizer) -> None:
        self.start, self.end = tokenizer.sot_token_id, tokenizer.eot_token_id
        self._word = lru_cache(maxsize=None)(lambda word: tuple(tokenizer.encode(word)))

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text, without start and end."""
        return [token for word in text.split() for token in self._word(word)]

    def rows(self, texts: list[str], length: int) -> np.ndarray:
        """[n, length] token rows, padded with zeros; a text that is too long loses its end, never the end token."""
        rows = np.zeros((len(texts), length), np.int64)
        for row, text in zip(rows, texts, strict=True):
            ids = [self.start, *self.tokens(text)[: length - 2], self.end]
            row[: len(ids)] = ids
        return rows

    def long_row(self, icon: dict[str, Any], rng: random.Random) -> str:
        """A long caption cut, at either end, to a random 17 to 32 tokens: so the end token is seen at every late position."""
        words = long_caption(icon, rng).split()
        room = rng.randint(SHORT, CONTEXT) - 2
        concept = set(icon["concept"].split())
        while len(words) > 1 and sum(len(self._word(word)) for word in words) > room:
            cut_end = words[-1].strip(".,") not in concept if rng.random() < 0.5 or words[0].strip(".,") in concept else False
            words.pop(-1 if cut_end else 0)
        return " ".join(words)
