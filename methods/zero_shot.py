"""The line every figure draws: no training at all."""

from typing import ClassVar

from methods.base import Method
from methods.registry import register


@register("zero_shot")
class ZeroShot(Method):
    """Zero-shot CLIP: the card's template, nothing learned.  Radford et al., ICML 2021.

    Paper: Learning Transferable Visual Models From Natural Language Supervision (arXiv 2103.00020).
    Reference code: github.com/openai/CLIP
    Tuned by the authors: templates per dataset; CoOp's single template of each card is used here.
    Deviations: one template, no ensemble.
    """

    title: ClassVar[str] = "Zero-shot CLIP"
    train: ClassVar[bool] = False
