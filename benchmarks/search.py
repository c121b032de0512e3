"""How many measurements a search needs: algorithms compared on an oracle, which was fitted on a measured table.

    python benchmarks/search.py measure [--run DIR] [--task NAME] [--count N] [--out TABLE]
    python benchmarks/search.py compare [--run DIR] [--table TABLE] [--seeds N] [--out RESULTS]

`measure` scores N architectures of a finished run's super-network on the search and the report split of one task: near
the importance ladder with several spreads, random ones, and mixtures of both. `compare` fits the oracle, prints its
cross-validated error, and lets each algorithm search on it with the population and generations of the published
search. What an algorithm is told of an architecture is the oracle's value for the search split plus noise of the size
of the oracle's error, the same whenever that architecture is measured; what it is judged by is the value for the report
split: the hypervolume of the front that the search split chose, after every measurement.

The results have the columns algorithm, seed, measurements and hypervolume (as a share of that of the front of a ladder
and random sample of 20,000 architectures on the oracle).
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import kendalltau
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.svm import SVR

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from llamanas import settings  # noqa: E402
from llamanas.architecture import Architecture, ModelShape  # noqa: E402
from llamanas.artifacts import read_table  # noqa: E402
from llamanas.models.families import read_config, shape_of  # noqa: E402
from llamanas.progress import progress  # noqa: E402
from llamanas.randomness import generator  # noqa: E402
from llamanas.search.collect import collect  # noqa: E402
from llamanas.search.nsga2 import costs  # noqa: E402
from llamanas.search.predictor import Features  # noqa: E402
from llamanas.search.propose import propose  # noqa: E402
from llamanas.select.front import find_front  # noqa: E402
from llamanas.select.statistics import hypervolume  # noqa: E402
from llamanas.supernet.ladder import Ladder  # noqa: E402
from llamanas.supernet.space import SearchSpace, minimum_depth  # noqa: E402

SEED = 2405
POPULATION, GENERATIONS = 50, 4  # 250 measurements, as published
SPREADS = (0.0, 0.2, 0.5, 1.0, 2.0)
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
    parser.add_argument("--table", type=Path, default=ROOT / "benchmarks/search_table.parquet")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


class Run:
    """Space and importance of a finished run."""

    def __init__(self, options: argparse.Namespace) -> None:
        import yaml

        given = yaml.safe_load(options.configfile.read_text()) if options.configfile else {}
        self.config = settings.complete(given)
        self.folder = options.run / "results/supernet"
        self.shape: ModelShape = shape_of(read_config(self.folder / "config.json"))
        rows = read_table(self.folder / "space.parquet", "space").to_pylist()
        self.space = SearchSpace.from_rows(rows, minimum_depth(self.shape, self.config["space"]))
        self.importance = read_table(self.folder / "importance.parquet", "importance").to_pylist()

    def sample(self, count: int, seed: int) -> list[Architecture]:
        """Different architectures: the full network, some near the ladder, random ones, and mixtures layer by layer."""
        draws, ladder, space = generator(seed, "sample"), Ladder(self.space, self.importance), self.space
        chosen = {space.full: None}
        least, most = space.parameters(space.smallest), space.parameters(space.full)
        while len(chosen) < count:
            near = ladder.near(draws.uniform(least, most), SPREADS[draws.integers(len(SPREADS))], draws)
            other = space.random(draws)
            from_near = draws.random(len(space.choices)) < draws.random()
            genes = np.where(from_near, space.encode(near), space.encode(other))
            mixed = space.decode(space.repair(genes, draws))
            chosen |= dict.fromkeys((near, other, mixed))
        return [*chosen][:count]


def measure(options: argparse.Namespace, run: Run) -> None:
    """Write the table: a row per architecture with its scores and accuracies on both splits."""
    import torch

    from llamanas.search.evaluate import measure as measured
    from llamanas.search.judge import Judge

    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    questions = read_table(options.run / f"results/tasks/{options.task}/questions.parquet", "questions").to_pylist()
    architectures = run.sample(options.count, SEED)
    rows = [a.row(run.shape, 4) for a in architectures]
    for split in ("search", "report"):
        items = [row for row in questions if row["split"] == split]
        judge = Judge(items, run.config["data"]["metric"])
        with tempfile.TemporaryDirectory() as resume:
            results = measured(run.folder, device, run.config["compute"], rows, items, Path(resume))
        for row, (architecture, values) in zip(rows, results, strict=True):
            means = judge.means(architecture, values)
            row |= {f"{split}_score": means["search_score"], f"{split}_accuracy": means["search_accuracy"]}
            row[f"n_{split}"] = len(items)
    columns = ("attention", "intermediate_sizes", "parameters", *TARGETS, "n_search", "n_report")
    table = pa.Table.from_pylist([{name: row[name] for name in columns} for row in rows])
    pq.write_table(table, options.out or options.table, compression="zstd")


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
    chosen = run.config["search"] | {"population": POPULATION, "predictor_evaluations": 20_000} | changes
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
    {"measure": measure, "compare": compare}[options.action](options, Run(options))


if __name__ == "__main__":
    main()
