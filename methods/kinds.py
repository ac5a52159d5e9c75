"""What values a hyper-parameter may have: of `q: Positive = 0.7` a plan refuses 0. What is not finite it refuses of any."""

from typing import Annotated

from pydantic import Field

Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
AboveOne = Annotated[float, Field(gt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
BelowChance = Annotated[float, Field(gt=0, lt=1e-3)]  # less than the largest probability of a thousand classes can be
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Terms = Annotated[int, Field(ge=1, le=1000)]  # of a sum: each takes time
