"""CLIPCleaner: choose the clean samples before training, then train with any loss."""

import warnings
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from methods.base import Batch, Method, Predict, Task
from methods.kinds import Positive, Share
from methods.registry import create, register


def probe(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """In-sample probabilities [N, C] of a logistic regression of the given labels on image features [N, D]."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - takes a second, and a plan needs the class only

    p, present = np.zeros((len(labels), classes)), np.unique(labels)
    p[:, present] = 1.0  # a single class is certain
    if len(present) > 1:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # a regression, says scikit-learn of few per class
            regression = LogisticRegression(max_iter=10_000, class_weight="balanced")
            p[:, present] = regression.fit(features, labels).predict_proba(features)
    return p


def mixture_clean(score: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """P(higher component) [N] by a two-component mixture of each given class's scores [N]; 1 where fewer than two differ."""
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - takes a second, and a plan needs the class only
    from sklearn.mixture import GaussianMixture  # noqa: PLC0415 - takes a second, and a plan needs the class only

    clean = np.ones(len(labels))
    for label in np.unique(labels):
        own = score[labels == label]
        if len(np.unique(own)) < 2:
            continue
        own = ((own - own.min()) / (own.max() - own.min()))[:, None]
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            mixture = GaussianMixture(2, random_state=seed).fit(own)
        clean[labels == label] = mixture.predict_proba(own)[:, mixture.means_.argmax()]
    return clean


@register("clipcleaner")
class CLIPCleaner(Method):
    """CLIPCleaner: samples that zero-shot and a linear probe both find clean, then any loss on them.  Feng et al., ACM MM 2024.

    For each of the two predictions p: per class, a two-component mixture on log p_y (higher component's posterior ≥ .5), and the
    consistency p_y / max_k p_k ≥ .8. Clean is the intersection of the four. A class left empty keeps its best by zero-shot p_y.

    Paper: CLIPCleaner: Cleaning Noisy Labels with CLIP (arXiv 2408.10012).
    Reference code: github.com/MrChenFeng/CLIPCleaner_ACMMM2024
    Tuned by the authors: thresholds .5 and .8; temperature .07, which is 7 of CLIP's own (.01, one over its logit scale).
    Deviations: `base` (any method with one context and view, and the engine's batches) instead of their MixFix training. One prompt
    per class, the card's, instead of many written by a language model. Public code fills an empty class with its *worst* samples
    (an ascending sort); the best are meant. A class whose scores are all alike is not split. Batches stay those of all methods,
    their mean is over the selected samples. The temperature is counted in the backbone's own, so that the consistency test asks the
    same of a backbone with another logit scale; with CLIP it is the authors'.
    """

    title: ClassVar[str] = "CLIPCleaner"
    version: ClassVar[int] = 3  # 3: temperature in the backbone's own; the belief is graded
    nested: ClassVar[tuple[str, ...]] = ("base",)
    base: str | dict[str, Any] = "coop_ce"
    mixture: Share = 0.5
    consistency: Share = 0.8
    temperature: Positive = 7.0  # times the backbone's own, 1 / logit scale

    def __post_init__(self) -> None:
        """Make the base method.

        Raises:
            ValueError: It cannot train on a selection.
        """
        self.inner = create(**({"name": self.base} if isinstance(self.base, str) else self.base))
        base = type(self.inner)
        if (base.batches, base.scores, base.train, base.oracle, base.contexts, base.views) != (
            Method.batches,
            Method.scores,
            True,
            None,
            1,
            1,
        ):
            raise ValueError(f"clipcleaner cannot train with '{self.inner.name}': it needs a method of one context and one view")

    def start(self, task: Task) -> None:
        """Select the clean samples and start the base method."""
        super().start(task)
        self.inner.start(task)
        self.clean, self.belief = self.select(task)  # [N] each

    def select(self, task: Task) -> tuple[Tensor, Tensor]:
        """The mask [N] of the samples judged clean, and one half plus the smallest margin [N] of each in the four tests."""
        labels, seed = task.labels.cpu().numpy(), task.draw_seed()
        zero_shot = (task.zero_shot.cpu().double() / self.temperature).softmax(dim=1).numpy()
        margins = []
        for p in (zero_shot, probe(task.images[0].cpu().numpy(), labels, task.num_classes)):
            p_y = p[np.arange(len(labels)), labels]
            higher = mixture_clean(np.log(p_y.clip(1e-12)), labels, seed)
            margins += [higher - self.mixture, p_y / p.max(axis=1) - self.consistency]
        belief = (0.5 + np.min(margins, axis=0)).clip(0, 1)
        clean = belief >= 0.5
        fill = max(len(labels) // task.num_classes**2, min(np.unique(labels[clean], return_counts=True)[1], default=1))
        for label in np.setdiff1d(labels, labels[clean]):
            own = np.flatnonzero(labels == label)
            clean[own[np.argsort(-zero_shot[own, label], kind="stable")[:fill]]] = True
        return torch.from_numpy(clean).to(task.labels.device), torch.from_numpy(belief).to(task.zero_shot)

    def epoch_start(self, epoch: int, predict: Predict) -> None:
        """What the base method does before an epoch."""
        self.inner.epoch_start(epoch, predict)

    def loss(self, batch: Batch) -> Tensor:
        """The base method's loss on the selected samples, 0 for the others, [B]."""
        keep = self.clean[batch.index]
        loss = 0 * batch.log_p_y
        kept = keep.nonzero()[:, 0]
        if len(kept):
            loss[kept] = self.inner.loss(batch.only(kept)) * (len(keep) / keep.sum())
        return loss

    def clean_belief(self) -> Tensor:
        """One half and the smallest margin by which a sample passes the four tests, [N]; what fills an empty class passed none."""
        return self.belief
