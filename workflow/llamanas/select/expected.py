"""What all measurements of a search together let expect of each measured network.

Of many noisy scores the best is lucky more often than it is good: a front of measured scores is one of luck, the more
so the more networks are measured (the winner's curse). A regression on what the networks are made of averages the
items' noise over all of them.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import Ridge

from llamanas.architecture import Architecture
from llamanas.search.linas import thinned
from llamanas.search.nsga2 import costs
from llamanas.search.predictor import KERNEL, Features, standard
from llamanas.select.front import EXPECTED, on_all_items
from llamanas.supernet.space import SearchSpace

PENALTY = 30.0  # for standardized scores and features; chosen on measured archives (docs/performance.md)


def with_expected(
    archive: list[dict], space: SearchSpace, importance: list[dict] | None, score: str, smooth: bool
) -> list[dict]:
    """The archive's rows with column ``expected_score``: the measured score, smoothed where ``smooth``.

    Smoothed, it is what a regression of the scores on the features of LINAS's predictor says of the network, itself
    among those that were learnt from: ridge (Hoerl and Kennard 1970), or without importance, where the features say
    little and a good score must count, the predictor's Gaussian process. Rows that racing dropped keep what was
    measured.

    Args:
        archive: all measured architectures.
        space: the space that they belong to.
        importance: sensitivities of the space's choices, if they are to be used.
        score: column to maximize.
        smooth: ``select.expected`` of the config.
    """
    whole = on_all_items(archive)
    scores = np.array([row[score] for row in whole])
    expected = dict(zip((row["architecture"] for row in whole), scores.tolist(), strict=True))
    if smooth and len(whole) > 1 and scores.std() > 0:
        genes = np.array([space.encode(Architecture.from_row(row)) for row in whole]).reshape(-1, len(space.choices))
        raw = Features(space, importance, costs(space, "parameters"))(genes)
        center, scale = standard(raw)
        x, y = (raw - center) / scale, (scores - scores.mean()) / scores.std()
        model, learnt = Ridge(PENALTY), np.ones(len(whole), bool)
        if not importance:
            kept = {row["architecture"] for row in thinned(whole, score, ["parameters"], seed=0)}
            model, learnt = GaussianProcessRegressor(KERNEL), np.array([name in kept for name in expected])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # few rows may lead to a bound of a parameter
            smoothed = model.fit(x[learnt], y[learnt]).predict(x) * scores.std() + scores.mean()
        expected = dict(zip(expected, smoothed.tolist(), strict=True))
    return [row | {EXPECTED: expected.get(row["architecture"], row[score])} for row in archive]
