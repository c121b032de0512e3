"""The oracle of the benchmark of searches: values of any architecture by regression on the measured table."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau
from search_table import SEED, Run
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.svm import SVR

from llamanas.architecture import Architecture
from llamanas.randomness import generator
from llamanas.search.nsga2 import costs
from llamanas.search.predictor import Features
from llamanas.select.front import find_front
from llamanas.select.statistics import hypervolume

TARGETS = {"search_score": "search_score", "search_accuracy": "report_accuracy"}
BINS = 20  # parts of the table, by score, in which the deviation of the score's items is averaged
REFERENCE = 20_000  # architectures whose front is the measure of all others


class Oracle:
    """Values without the noise of items: the accuracy by that of the report split, which a search cannot see.

    The score is fitted on the search split. What a search is told is such a value with the noise of a sample of the
    search split's n items: binomial for the accuracy, and normal for the score, whose items vary as much as those of
    measured architectures with such a score. An architecture has the same noise whenever it is measured in a search,
    and other noise in a search of another seed. Since real architectures answer the same items, the real noise between
    two of them is smaller.
    """

    def __init__(self, run: Run, rows: list[dict]) -> None:
        self.run, self.n = run, rows[0]["n_search"]
        scores, errors = (np.array([row[name] for row in rows]) for name in ("search_score", "search_score_error"))
        parts = np.array_split(scores.argsort(), BINS)
        self.levels = np.array([scores[part].mean() for part in parts])
        self.deviations = np.array([errors[part].mean() for part in parts]) * self.n**0.5
        self.features = Features(run.space, run.importance, costs(run.space, "parameters"))
        architectures = [Architecture.from_row(row) for row in rows]
        self.center, self.scale = 0.0, 1.0
        raw = self._inputs(architectures)
        self.center, self.scale = raw.mean(0), raw.std(0) + 1e-9
        x = self._inputs(architectures)
        self.models, self.errors = {}, {}
        for told, target in TARGETS.items():
            y = np.array([row[target] for row in rows])
            self.models[told] = self._fit(target, x, y, np.array([row["n_report"] for row in rows]))

    def _fit(self, target: str, x: NDArray, y: NDArray, n: NDArray) -> Ridge | SVR:
        """The kind of regression that errs least on held-out fifths, fitted on everything."""
        kinds = [Ridge(1.0), Ridge(30.0)]
        kinds += [SVR(C=c * y.std(), epsilon=0.05 * y.std(), gamma=g / x.shape[1]) for c in (3, 30) for g in (1, 0.2)]
        folds = KFold(5, shuffle=True, random_state=0)
        held_out = [cross_val_predict(kind, x, y, cv=folds) for kind in kinds]
        errors = [float(np.sqrt(np.square(predicted - y).mean())) for predicted in held_out]
        best = int(np.argmin(errors))
        self.errors[target] = errors[best]
        noise = ""
        if target == "report_accuracy":
            noise = f", of which the items' binomial noise {np.sqrt((y * (1 - y) / n).mean()):.4f}"
        print(
            f"oracle of {target}: {kinds[best]}, root mean square error {errors[best]:.4f}{noise}, standard "
            f"deviation {y.std():.4f}, Kendall's tau {kendalltau(held_out[best], y).statistic:.3f}, n {len(y)}, 5 folds"
        )
        return kinds[best].fit(x, y)

    def _inputs(self, architectures: list[Architecture]) -> NDArray:
        x = self.features(np.array([self.run.space.encode(a) for a in architectures]))
        return (x - self.center) / self.scale

    def values(self, architectures: list[Architecture], told: str) -> NDArray:
        """True values [n] behind a column that a search is told."""
        predicted: NDArray = self.models[told].predict(self._inputs(architectures))
        return predicted.clip(0, 1)  # both are shares

    def items(self, architectures: list[Architecture], told: str, seed: int) -> NDArray:
        """What each item of the search split says of each architecture [n, items]; means are what a search is told."""
        rows = []
        for architecture, value in zip(architectures, self.values(architectures, told), strict=True):
            draws = generator(SEED, seed, told, architecture.id)
            if told == "search_accuracy":
                rows.append(draws.random(self.n) < value)
            else:
                deviation = np.interp(value, self.levels, self.deviations)
                rows.append(draws.normal(value, deviation, self.n))
        return np.array(rows, dtype=float).reshape(len(architectures), self.n)


class Yardstick:
    """True hypervolumes, as shares of that of a large sample's front, after each measurement.

    What counts is the true accuracy of the front that a search chose by what it was told.
    """

    def __init__(self, run: Run, oracle: Oracle) -> None:
        self.oracle = oracle
        sample = run.sample(REFERENCE, SEED + 1)
        self.full = run.shape.full.parameters(run.shape)
        values = oracle.values(sample, "search_accuracy")
        self.floor = float(np.quantile(values, 0.05))
        self.whole = self._volume([a.parameters(run.shape) for a in sample], values.tolist())

    def _volume(self, parameters: list[int], values: list[float]) -> float:
        return hypervolume([size / self.full for size in parameters], values, (1.0, self.floor))

    def share(self, archive: list[dict], score: str) -> float:
        """Share of the front that the search would choose from this archive."""
        front = find_front(archive, score, "parameters")
        return self._volume([row["parameters"] for row in front], [row["true"] for row in front]) / self.whole

    def mark(self, archive: list[dict]) -> list[dict]:
        """The rows with their true accuracy."""
        true = self.oracle.values([Architecture.from_row(row) for row in archive], "search_accuracy")
        return [row | {"true": value} for row, value in zip(archive, true.tolist(), strict=True)]
