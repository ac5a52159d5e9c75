"""The zero-shot model: the card's template through the frozen text tower. All that is known of it comes from here."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.cards import Card
from bench.engine.backbone import TextBackbone
from bench.engine.plain import encode_prompts


@dataclass(frozen=True, eq=False)
class ZeroShot:
    """Class text features and the logit scale that go with them."""

    text: Tensor  # [C, D]
    scale: float

    def logits(self, images: Tensor) -> Tensor:
        """Logits [N, C] of image features [N, D]."""
        return self.scale * images @ self.text.T

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [N, C] of image features [N, D], on the CPU: what a noise protocol draws from is the same on every device."""
        found: NDArray[np.float32] = ZeroShot(self.text.cpu(), self.scale).logits(torch.from_numpy(images)).numpy()
        return found


def zero_shot_of(backbone: TextBackbone, card: Card) -> ZeroShot:
    """The zero-shot model of a card's first template."""
    return _zero_shot(backbone, tuple(card.prompts))


@lru_cache(maxsize=2)
def _zero_shot(backbone: TextBackbone, prompts: tuple[str, ...]) -> ZeroShot:
    """Computed once for all shards of a worker: a thousand prompts take a CPU half a minute."""
    return ZeroShot(encode_prompts(backbone, prompts), backbone.scale)
