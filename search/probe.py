"""What a linear model that has not seen an item says of its class: multinomial logistic regression on the vectors, in five folds.

All five models are fitted at once, as one matrix, by L-BFGS.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from .vectors import Vectors

FOLDS = 5
# What it learns from at most; of the others it only says what it thinks.
_MOST_LEARNED = 100_000
_ROUNDS = 30
# Of the squared weights beside the summed loss, as scikit-learn has it (C = 1) for vectors of length 1.
_PENALTY = 1.0
_BLOCK = 16_384


def out_of_sample(
    vectors: Vectors, member: npt.NDArray[np.int64], classes: int, *, seed: int = 0
) -> npt.NDArray[np.float32]:
    """``(n, classes)``: the probabilities of each row by the model that was fitted without it.

    ``vectors`` is ``(n, dimension)``, L2-normalised, ``member`` the class of each in ``range(classes)``.
    """
    folds = _folds(member, seed)
    learned = np.arange(len(member))
    if len(member) > _MOST_LEARNED:
        learned = np.sort(np.random.default_rng(seed).choice(len(member), _MOST_LEARNED, replace=False))
    center = vectors[learned].mean(axis=0)
    weights = _fit(vectors[learned] - center, member[learned], folds[learned], classes)
    probabilities = np.empty((len(member), classes), dtype=np.float32)
    for start in range(0, len(member), _BLOCK):
        block = slice(start, start + _BLOCK)
        logits = _with_one(vectors[block] - center) @ weights
        own = logits.view(-1, FOLDS, classes)[torch.arange(len(logits)), torch.from_numpy(folds[block])]
        probabilities[block] = own.softmax(dim=1).numpy()
    return probabilities


def _folds(member: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Each class is spread evenly over the folds."""
    shuffled = np.random.default_rng(seed).permutation(len(member))
    order = shuffled[np.argsort(member[shuffled], kind="stable")]
    folds = np.empty(len(member), dtype=np.int64)
    folds[order] = np.arange(len(member)) % FOLDS
    return folds


def _fit(vectors: Vectors, member: npt.NDArray[np.int64], folds: npt.NDArray[np.int64], classes: int) -> torch.Tensor:
    """``(dimension + 1, FOLDS × classes)``; the last row is the bias, which costs nothing."""
    given = _with_one(vectors)
    wanted = torch.from_numpy(member)[:, None].expand(-1, FOLDS)
    counts = torch.from_numpy((folds[:, None] != np.arange(FOLDS)).astype(np.float32))
    weights = torch.zeros(given.shape[1], FOLDS * classes, requires_grad=True)
    fitting = torch.optim.LBFGS(
        [weights], max_iter=_ROUNDS, history_size=10, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )
    share = 1 / len(member)

    def loss() -> torch.Tensor:
        fitting.zero_grad()
        likelihood = (given @ weights).view(-1, FOLDS, classes).log_softmax(dim=2)
        missed = -(likelihood.gather(2, wanted[:, :, None])[:, :, 0] * counts).sum()
        total: torch.Tensor = share * (missed + 0.5 * _PENALTY * weights[:-1].square().sum())
        total.backward()
        return total

    fitting.step(loss)
    return weights.detach()


def _with_one(vectors: Vectors) -> torch.Tensor:
    return torch.from_numpy(np.hstack([vectors, np.ones((len(vectors), 1), dtype=np.float32)]))
