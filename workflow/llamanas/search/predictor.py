"""Predictor of a task's score from an architecture's genes: by sensitivities as in LINAS, else a Gaussian process."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau
from sklearn.base import RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.svm import SVR

from llamanas.errors import LlamaNasError
from llamanas.supernet.ladder import ladder, sensitivities
from llamanas.supernet.space import SearchSpace, choice_table

ALPHAS = (0.001, 0.01, 0.1, 1.0, 10.0)  # of ridge regression
PENALTIES = (0.1, 1.0, 10.0, 100.0)  # C of support vector regression
# Of the Gaussian process, whose features and scores are standardized: a smooth function, and the noise of the items.
KERNEL = ConstantKernel(1.0) * RBF(1.0, (0.1, 1000)) + WhiteKernel(0.05, (1e-4, 1))
FOLDS = 5
SUMS = 5  # leading columns of the features, which are standardized


class Features:
    """What the predictor sees of genes [n, layers]: sums of sensitivities, cost, way off the ladder, one-hot choices.

    The sums say much from the first few measurements on; the one-hot part learns what they miss as more arrive. One-hot
    columns are divided by the root of the number of layers, so that together they weigh as much as one sum. The way off
    the importance ladder is the share of layers whose choice is not that of the most similar rung. What a search finds
    far off was seen to be worse on other questions than its parts and its own measurements say (docs/performance.md,
    "Whole archives"); a super-network is trained near a ladder, that of the network before its training.
    Without importance there is no ladder, and attentions count as equally sensitive, and so do MLPs, by the share of
    their size that is gone.
    """

    def __init__(self, space: SearchSpace, importance: list[dict] | None, cost: NDArray) -> None:
        """``cost`` [layers, choices] is what each choice costs, in any unit."""
        sizes = np.array([len(choices) for choices in space.choices])
        self.layers, self.columns, self.offsets = np.arange(len(sizes)), sizes.sum(), np.cumsum(sizes) - sizes
        self.ranked = bool(importance)
        self.rungs = np.array([space.encode(rung) for rung in ladder(space, importance)]) if importance else None
        added = sensitivities(space, importance) if importance else _missing(space)
        self.attention = choice_table([attention for attention, _ in choices] for choices in added)
        self.mlp = choice_table([mlp for _, mlp in choices] for choices in added)
        self.cost = cost

    def __call__(self, genes: NDArray) -> NDArray:
        """Features [n, SUMS + sum of choices]."""
        attention, mlp, cost = (t[self.layers, genes].sum(axis=1) for t in (self.attention, self.mlp, self.cost))
        distance = np.sqrt(attention + mlp)  # divergences grow with the square of a small perturbation
        one_hot = np.zeros((len(genes), self.columns))
        np.put_along_axis(one_hot, self.offsets + genes, 1 / np.sqrt(len(self.layers)), axis=1)
        off = np.zeros(len(genes))
        if self.rungs is not None:
            off = np.min([(genes != rung).mean(axis=1) for rung in self.rungs], axis=0)
        return np.column_stack([attention, mlp, distance, cost, off, one_hot])


@dataclass(frozen=True)
class Predictor:
    """A fitted model of the score, and how well it ranked architectures that it was not fitted on."""

    features: Features
    center: NDArray
    scale: NDArray
    model: RegressorMixin
    score_mean: float
    score_scale: float
    kendall_tau: float

    def __call__(self, genes: NDArray) -> NDArray:
        """Predicted scores [n] of genes [n, layers]."""
        x = (self.features(genes) - self.center) / self.scale
        return self.model.predict(x) * self.score_scale + self.score_mean


def fit_predictor(features: Features, genes: NDArray, scores: NDArray, seed: int) -> Predictor:
    """Ridge or support vector regression (RBF), whichever errs less in 5-fold cross-validation (fewer if few rows).

    Without importance it is Gaussian process regression (Rasmussen and Williams 2006), its three parameters by maximum
    likelihood: what little the one-hot choices say it takes for likely instead of for certain, and it knows the noise.

    The criterion is the mean absolute error of the predictions for held-out rows. The percentage error of DyNAS-T
    divides by the score, so that near zero, where log-probabilities are best, it explodes; a rank correlation says
    nothing on the folds of a small archive; squares would let a few collapsed networks decide. The rank correlation of
    all held-out predictions, Kendall's tau, is printed and kept.

    Raises:
        LlamaNasError: fewer than two architectures were measured.
    """
    if len(genes) < 2:
        raise LlamaNasError(f"the predictor needs at least 2 measured architectures, but the archive has {len(genes)}")
    raw = features(genes)
    center, scale = standard(raw)
    score_mean, score_scale = standard(scores[:, None])
    x, y = (raw - center) / scale, (scores - score_mean) / score_scale
    folds = KFold(min(FOLDS, len(genes)), shuffle=True, random_state=seed % 2**32)
    models: list[RegressorMixin] = [GaussianProcessRegressor(KERNEL)]
    if features.ranked:
        models = [*(Ridge(alpha) for alpha in ALPHAS), *(SVR(C=penalty, epsilon=0.05) for penalty in PENALTIES)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few rows may lead to a bound of a parameter
        held_out = [cross_val_predict(model, x, y, cv=folds) for model in models]
        best = int(np.argmin([np.abs(predicted - y).mean() for predicted in held_out]))
        model = models[best].fit(x, y)
    tau = float(kendalltau(held_out[best], y).statistic)
    fitted = getattr(model, "kernel_", model)  # of a Gaussian process
    print(f"predictor {fitted}: Kendall's tau {tau:.3f} between held-out predictions and {len(y)} measured scores")
    return Predictor(features, center, scale, model, score_mean.item(), score_scale.item(), tau)


def _missing(space: SearchSpace) -> list[list[tuple[float, float]]]:
    """Per layer and choice, in the place of sensitivities: what share of its attention is gone, and of its MLP."""
    return [
        [(1 - heads / choices[-1].kv_heads, 1 - width / choices[-1].intermediate_size) for heads, width, *_ in choices]
        for choices in space.choices
    ]


def standard(columns: NDArray) -> tuple[NDArray, NDArray]:
    """Mean and standard deviation of the leading SUMS columns; 0 and 1 for the others and for constant columns."""
    center, scale = np.zeros(columns.shape[1]), np.ones(columns.shape[1])
    center[:SUMS] = columns[:, :SUMS].mean(axis=0)
    deviation = columns[:, :SUMS].std(axis=0)
    scale[:SUMS] = np.where(deviation > 1e-12 * np.abs(center[:SUMS]), deviation, 1.0)
    return center, scale
