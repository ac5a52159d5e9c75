"""The ceiling: what cross entropy reaches when someone takes the wrong labels out."""

from typing import ClassVar, Literal

from torch import Tensor

from methods.base import Batch, Method, Task, mean_over
from methods.registry import register


@register("clean_only")
class CleanOnly(Method):
    """Cross entropy on the truly clean samples alone: an oracle, the ceiling of sample selection.  Ours, a control.

    Paper: none.
    Reference code: this file.
    Tuned by the authors: nothing. It is told the true labels, and therefore kept out of rankings.
    Deviations: batches and their order stay those of all methods, each batch's mean is over its clean samples; so the number of
    steps is the same at every noise rate.
    """

    title: ClassVar[str] = "Clean only"
    oracle: ClassVar[Literal["rate", "labels"] | None] = "labels"

    def start(self, task: Task) -> None:
        """Find the samples whose given label is the true one.

        Raises:
            ValueError: The task holds no clean labels.
        """
        super().start(task)
        if task.clean_labels is None:
            raise ValueError("clean_only is an oracle and needs the task's clean labels")
        self.clean = task.clean_labels == task.labels  # [N]

    def loss(self, batch: Batch) -> Tensor:
        """-log p_y of the clean samples, 0 for the others, [B]."""
        return mean_over(self.clean[batch.index], -batch.log_p_y)

    def clean_belief(self) -> Tensor:
        """The truth, [N]."""
        return self.clean.float()
