"""What the choice among measured networks is worth: whole archives of finished searches, measured on the report split.

    python benchmarks/archives.py measure RUN [--configfile FILE] [--tasks NAME ...]
    python benchmarks/archives.py compare RUN ... [--configfile FILE] [--tasks NAME ...] [--out TABLE]

`measure` scores every network of a run's archives, and every rung of its importance ladder, on both splits of each
task: `RUN/results/archives/TASK.parquet`.
`compare` prints, over all runs and tasks, how far the networks that a search proposed are from the ladder's of their
size on the questions that it searched on and on the others, and how good picks are that are chosen in several ways:
the best within 90, 83, 75, 67 and 57 % of the parameters, against the ladder's largest network that is not larger.
It writes means of every network to TABLE.
"""

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from search import SHARES
from search_table import Run
from sklearn.linear_model import Ridge

from llamanas.architecture import Architecture
from llamanas.artifacts import read_table, whole_file
from llamanas.search.nsga2 import costs
from llamanas.search.predictor import SUMS, Features, standard
from llamanas.supernet.ladder import ladder

LADDER = SUMS - 1  # column of the features that says how far off the ladder a network is
WAYS: dict[str, tuple[float, bool] | None] = {  # penalty of the regression, and whether it knows that column
    "measured score": None,
    **{f"expected, penalty {penalty}": (penalty, False) for penalty in (10, 30, 100)},
    **{f"expected, penalty {penalty}, way off the ladder": (penalty, True) for penalty in (10, 30, 100)},
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("measure", "compare"))
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--configfile", type=Path, help="settings of the runs, where they differ from the default")
    parser.add_argument("--tasks", nargs="+", default=["arc_easy", "arc_challenge", "piqa"])
    parser.add_argument("--out", type=Path, help="table of all networks' means")
    return parser.parse_args()


def archive_of(run: Run, task: str) -> list[dict]:
    """All networks that the run's search of the task measured."""
    last = f"results/search/{task}/generation-{run.config['search']['generations']}/archive.parquet"
    return read_table(run.folder / last, "archive").to_pylist()


def measure(run: Run, task: str) -> None:
    """Write means of the archive and the ladder on both splits."""
    import torch

    from llamanas.search.evaluate import measure as measured_on
    from llamanas.search.judge import Judge

    networks = {row["architecture"]: Architecture.from_row(row) for row in archive_of(run, task)}
    networks |= {rung.id: rung for rung in ladder(run.space, run.importance)}
    rows = {name: architecture.row(run.shape, 4) for name, architecture in networks.items()}
    table = run.folder / f"results/tasks/{task}/questions.parquet"
    for split in ("search", "report"):
        items = [row for row in read_table(table, "questions").to_pylist() if row["split"] == split]
        judge, device = Judge(items, run.config["data"]["metric"]), "cuda:0" if torch.cuda.is_available() else "cpu"
        with tempfile.TemporaryDirectory() as resume:
            about = run.supernet, device, run.config["compute"], [*rows.values()], items, Path(resume)
            for architecture, values in measured_on(*about):
                means = judge.means(architecture, values)
                rows[architecture.id] |= {f"{split}_{name}": means[f"search_{name}"] for name in ("score", "accuracy")}
    target = run.folder / f"results/archives/{task}.parquet"
    target.parent.mkdir(exist_ok=True)
    with whole_file(target) as temporary:
        pq.write_table(pa.Table.from_pylist([*rows.values()]), temporary)


class Archive:
    """The measured archive of a search and the ladder of its super-network."""

    def __init__(self, run: Run, task: str) -> None:
        self.rows = pq.read_table(run.folder / f"results/archives/{task}.parquet").to_pylist()
        place = {row["architecture"]: index for index, row in enumerate(self.rows)}
        searched = archive_of(run, task)
        for row in searched:
            self.rows[place[row["architecture"]]] |= {"origin": row["origin"], "generation": row["generation"]}
        self.networks = np.array([place[row["architecture"]] for row in searched])
        self.rungs = np.array([place[rung.id] for rung in ladder(run.space, run.importance)])
        self.proposed = np.array([place[row["architecture"]] for row in searched if row["origin"] == "linas"])
        self.size = np.array([row["parameters"] for row in self.rows])
        genes = np.array([run.space.encode(Architecture.from_row(row)) for row in searched])
        self.features = Features(run.space, run.importance, costs(run.space, "parameters"))(genes)

    def column(self, name: str) -> NDArray:
        return np.array([row[name] for row in self.rows])

    def expected(self, penalty: float, way_off: bool) -> NDArray:
        """Expected scores [archive], as `select.expected` makes them, with or without the way off the ladder."""
        scores = self.column("search_score")[self.networks]
        center, scale = standard(self.features)
        x = (self.features - center) / scale
        x = x if way_off else np.delete(x, LADDER, axis=1)
        y = (scores - scores.mean()) / scores.std()
        return Ridge(penalty).fit(x, y).predict(x) * scores.std() + scores.mean()

    def picks(self, score: NDArray) -> list[tuple[int, int]]:
        """Best network within each share, and the ladder's largest that is not larger."""
        pairs = []
        for share in SHARES:
            small = self.size[self.networks] <= share * self.size.max()
            best = self.networks[small][score[small].argmax()]
            below = self.rungs[self.size[self.rungs] <= self.size[best]]
            pairs.append((int(best), int(below[self.size[below].argmax()])))
        return pairs

    def above_ladder(self, name: str) -> float:
        """Mean difference of what was proposed from the ladder at its size, in points, above half of the parameters."""
        order = self.rungs[self.size[self.rungs].argsort()]
        values, large = self.column(name), self.proposed[self.size[self.proposed] > 0.5 * self.size.max()]
        at_size = np.interp(self.size[large], self.size[order], values[order])
        return 100 * float((values[large] - at_size).mean())


def compare(archives: dict[tuple[str, str], Archive]) -> None:
    """Print the means over archives, and their range."""
    for (run, task), archive in archives.items():
        splits = ", ".join(
            f"{archive.above_ladder(f'{split}_score'):+.2f} on {split}" for split in ("search", "report")
        )
        print(
            f"{run}, {task}: {len(archive.proposed)} proposed networks are above the ladder by {splits}, score points"
        )
    for way, settings in WAYS.items():
        found = defaultdict(list)
        for archive in archives.values():
            told = archive.column("search_score")[archive.networks]
            pairs = archive.picks(archive.expected(*settings) if settings else told)
            for name in ("report_accuracy", "report_score"):
                values = archive.column(name)
                found[name].append(100 * np.mean([values[pick] - values[rung] for pick, rung in pairs]))
            found["rungs"].append(np.mean([pick in archive.rungs for pick, _ in pairs]))
        parts = [
            f"{name} {np.mean(found[name]):+.2f} ({min(found[name]):+.2f} to {max(found[name]):+.2f})"
            for name in ("report_accuracy", "report_score")
        ]
        print(f"{way}: {', '.join(parts)} points from the ladder, {np.mean(found['rungs']):.0%} of picks are rungs")


def write(archives: dict[tuple[str, str], Archive], path: Path) -> None:
    """Every network's means, with the run and the task."""
    names = ("architecture", "parameters", "origin", "generation", "search_score", "search_accuracy")
    names += ("report_score", "report_accuracy")
    rows = [
        {"run": run, "task": task, "rung": index in archive.rungs} | {name: row.get(name) for name in names}
        for (run, task), archive in archives.items()
        for index, row in enumerate(archive.rows)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd", compression_level=19)


def main() -> None:
    options = arguments()
    runs = {folder.name: Run(folder, options.configfile) for folder in options.runs}
    if options.action == "measure":
        for run in runs.values():
            for task in options.tasks:
                measure(run, task)
        return
    archives = {(name, task): Archive(run, task) for name, run in runs.items() for task in options.tasks}
    compare(archives)
    if options.out:
        write(archives, options.out)


if __name__ == "__main__":
    main()
