"""How many measurements a search needs: algorithms compared on an oracle, which was fitted on a measured table.

    python benchmarks/search.py measure [--run DIR] [--task NAME] [--count N] [--table TABLE]
    python benchmarks/search.py compare [--run DIR] [--table TABLE] [--seeds N] [--out RESULTS]

`measure` scores N architectures of a finished run's super-network on the search and the report split of one task: near
the importance ladder with several spreads, random ones, mixtures of both, and a quarter that searches proposed.
`compare` fits the oracle, prints its cross-validated error, and lets each algorithm search on it with the population
and generations of the published search. What an algorithm is told of an architecture is the oracle's value for the
search split plus noise of the size of the oracle's error, the same whenever that architecture is measured; what it is
judged by is the value for the report split: the hypervolume of the front that the search split chose, after every
measurement.

The results have the columns algorithm, seed, measurements and hypervolume (as a share of that of the front of a ladder
and random sample of 20,000 architectures on the oracle).
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import kendalltau
from search_table import ROOT, SEED, Run, measure
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.svm import SVR

from llamanas.architecture import Architecture
from llamanas.progress import progress
from llamanas.randomness import generator
from llamanas.search.collect import collect
from llamanas.search.nsga2 import costs
from llamanas.search.predictor import Features
from llamanas.search.propose import propose
from llamanas.select.front import find_front
from llamanas.select.statistics import hypervolume

GENERATIONS = 4  # after generation 0: 250 measurements, as published
TARGETS = ("search_score", "search_accuracy", "report_score", "report_accuracy")
REFERENCE = 20_000  # architectures whose front is the measure of all others
ALGORITHMS: dict[str, dict] = {
    "random": {"algorithm": "random", "use_importance": False},
    "nsga2": {"algorithm": "nsga2", "use_importance": False},
    "linas, no importance": {"algorithm": "linas", "use_importance": False},
    "ladder": {"algorithm": "ladder"},
    "nsga2 from the ladder": {"algorithm": "nsga2"},
    "linas": {"algorithm": "linas"},
    "linas on accuracy": {"algorithm": "linas", "score": "search_accuracy"},
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("measure", "compare"))
    parser.add_argument("--run", type=Path, default=Path.cwd(), help="directory of a finished run")
    parser.add_argument("--configfile", type=Path, help="settings of the run, where they differ from the default")
    parser.add_argument("--task", default="arc_easy")
    parser.add_argument("--count", type=int, default=3000, help="architectures to measure")
    parser.add_argument("--table", type=Path, default=ROOT / "benchmarks/search_table.parquet", help="measured table")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


class Oracle:
    """Values of any architecture, by regression on the table; the same architecture always has the same noise."""

    def __init__(self, run: Run, rows: list[dict]) -> None:
        self.run = run
        self.features = Features(run.space, run.importance, costs(run.space, "parameters"))
        x = self._inputs([Architecture.from_row(row) for row in rows])
        folds = KFold(5, shuffle=True, random_state=0)
        self.models, self.errors = {}, {}
        for target in TARGETS:
            y = np.array([row[target] for row in rows])
            kinds = (Ridge(1.0), SVR(C=10 * y.std(), epsilon=0.02 * y.std()), ExtraTreesRegressor(300, random_state=0))
            held_out = [cross_val_predict(kind, x, y, cv=folds) for kind in kinds]
            errors = [float(np.sqrt(np.square(predicted - y).mean())) for predicted in held_out]
            best = int(np.argmin(errors))
            self.models[target], self.errors[target] = kinds[best].fit(x, y), errors[best]
            tau = kendalltau(held_out[best], y).statistic
            print(
                f"oracle of {target}: {type(kinds[best]).__name__}, root mean square error {errors[best]:.4f} of a "
                f"standard deviation of {y.std():.4f}, Kendall's tau {tau:.3f}, n {len(y)}, 5 folds"
            )

    def _inputs(self, architectures: list[Architecture]) -> NDArray:
        x = self.features(np.array([self.run.space.encode(a) for a in architectures]))
        if not hasattr(self, "scale"):
            self.center, self.scale = x.mean(0), x.std(0) + 1e-9
        return (x - self.center) / self.scale

    def values(self, architectures: list[Architecture], target: str) -> NDArray:
        """Expected values of a column of the table."""
        predicted: NDArray = self.models[target].predict(self._inputs(architectures))
        return predicted

    def measured(self, architectures: list[Architecture], target: str) -> NDArray:
        """Values with the noise of a measurement."""
        noise = [generator(SEED, target, a.id).standard_normal() for a in architectures]
        return self.values(architectures, target) + self.errors[target] * np.array(noise)


def searched(run: Run, oracle: Oracle, changes: dict, seed: int) -> tuple[list[dict], str]:
    """The archive of a search on the oracle, in the order of measurement, and the score that it went by."""
    chosen = run.search_settings(changes)
    archive: list[dict] = []
    for generation in range(GENERATIONS + 1):
        rows = propose(run.space, run.shape, archive, run.importance, chosen, generation, seed, 4)
        if not rows:
            break
        architectures = [Architecture.from_row(row) for row in rows]
        told = [oracle.measured(architectures, target) for target in ("search_score", "search_accuracy")]
        scores = [
            {"architecture": a.id, "search_score": float(s), "search_accuracy": float(c), "n_search": 1}
            for a, s, c in zip(architectures, *told, strict=True)
        ]
        archive = collect(archive, rows, scores)
    return archive, chosen["score"]


class Yardstick:
    """True hypervolumes, as shares of that of a large sample's front, for each number of measurements."""

    def __init__(self, run: Run, oracle: Oracle) -> None:
        self.run, self.oracle = run, oracle
        sample = run.sample(REFERENCE, SEED + 1)
        self.full = run.shape.full.parameters(run.shape)
        values = oracle.values(sample, "report_score")
        self.floor = float(np.quantile(values, 0.05))
        self.whole = self._volume([a.parameters(run.shape) for a in sample], values.tolist())

    def _volume(self, parameters: list[int], values: list[float]) -> float:
        return hypervolume([size / self.full for size in parameters], values, (1.0, self.floor))

    def curve(self, archive: list[dict], score: str) -> list[float]:
        """Share after each measurement, of the front that the search split chose."""
        values = self.oracle.values([Architecture.from_row(row) for row in archive], "report_score")
        true = {row["architecture"]: value for row, value in zip(archive, values.tolist(), strict=True)}
        shares = []
        for count in range(1, len(archive) + 1):
            front = find_front(archive[:count], score, "parameters")
            volume = self._volume([row["parameters"] for row in front], [true[row["architecture"]] for row in front])
            shares.append(volume / self.whole)
        return shares


def compare(options: argparse.Namespace, run: Run) -> None:
    """Write the results and print medians with quartiles."""
    oracle = Oracle(run, pq.read_table(options.table).to_pylist())
    yardstick = Yardstick(run, oracle)
    rows: list[dict] = []
    for name, changes in ALGORITHMS.items():
        for seed in progress(range(options.seeds), name, options.seeds, "seed"):
            curve = yardstick.curve(*searched(run, oracle, changes, seed))
            rows += [
                {"algorithm": name, "seed": seed, "measurements": count, "hypervolume": share}
                for count, share in enumerate(curve, 1)
            ]
        for count in (50, 100, 150, 200, 250):
            reached = [row["hypervolume"] for row in rows if row["algorithm"] == name and row["measurements"] == count]
            if reached:
                low, median, high = np.quantile(reached, [0.25, 0.5, 0.75])
                print(f"{name}, {count} measurements: {median:.4f} ({low:.4f} to {high:.4f}), {len(reached)} seeds")
    pq.write_table(pa.Table.from_pylist(rows), options.out or ROOT / "benchmarks/search_results.parquet")


def main() -> None:
    options = arguments()
    {"measure": measure, "compare": compare}[options.action](options, Run(options.run, options.configfile))


if __name__ == "__main__":
    main()
