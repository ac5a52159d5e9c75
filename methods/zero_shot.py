"""The line every figure draws: no training at all."""

from typing import ClassVar, Literal

from methods.base import Method
from methods.registry import register


@register("zero_shot")
class ZeroShot(Method):
    """Zero-shot CLIP: the card's template, nothing learned.  Radford et al., ICML 2021."""

    train: ClassVar[bool] = False
    context: ClassVar[Literal["learned", "template"]] = "template"
