"""The measured table of the benchmark of searches: architectures of a finished run's super-network and their scores."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from llamanas import settings  # noqa: E402
from llamanas.architecture import Architecture, ModelShape  # noqa: E402
from llamanas.artifacts import read_table, whole_file  # noqa: E402
from llamanas.models.families import read_config, shape_of  # noqa: E402
from llamanas.randomness import generator, seed_for  # noqa: E402
from llamanas.search.propose import propose  # noqa: E402
from llamanas.supernet.ladder import Ladder  # noqa: E402
from llamanas.supernet.space import space_of  # noqa: E402

SEED = 2405
POPULATION = 50  # as published
SPREADS = (0.0, 0.2, 0.5, 1.0, 2.0)
SAMPLED = 0.75  # of the architectures; the others are proposed by searches, so that the table is dense where they go
BLOCK = 500  # architectures measured together, after which the table is written; a trie of more needs more memory
SEARCHES = (
    {"algorithm": "linas"},
    {"algorithm": "linas", "score": "search_accuracy"},
    {"algorithm": "linas", "use_importance": False},
    {"algorithm": "nsga2"},
)
COLUMNS = (
    "architecture",
    "kv_heads",
    "intermediate_sizes",
    "depth",
    "parameters",
    "bytes",
    "macs_per_token",
    "origin",
)


class Run:
    """Space, importance and settings of a finished run."""

    def __init__(self, folder: Path, configfile: Path | None) -> None:
        given = yaml.safe_load(configfile.read_text()) if configfile else {}
        self.config = settings.complete(given)
        self.folder, self.supernet = folder, folder / "results/supernet"
        self.shape: ModelShape = shape_of(read_config(self.supernet / "config.json"))
        rows = read_table(self.supernet / "space.parquet", "space").to_pylist()
        self.space = space_of(rows, self.shape, self.config["space"])
        self.importance = read_table(self.supernet / "importance.parquet", "importance").to_pylist()

    def search_settings(self, changes: dict) -> dict:
        """Section ``search`` of the run with the population and the predictor's budget of the published search."""
        return self.config["search"] | {"population": POPULATION, "predictor_evaluations": 20_000} | changes

    def sample(self, count: int, seed: int) -> list[Architecture]:
        """Different architectures: the full network, some near the ladder, random ones, and mixtures layer by layer.

        At most half of the space, since random draws would not find the rest.
        """
        count = min(count, self.space.size // 2)
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

    def searched(self, measured: list[dict], count: int) -> list[Architecture]:
        """Architectures that searches propose after random parts of the table, each of five populations."""
        known = {row["architecture"] for row in measured}
        chosen: dict[str, Architecture] = {}
        for turn in range(count):  # more turns than proposals are never needed, and a small space may have fewer
            if len(chosen) >= count:
                break
            draws = generator(SEED, "part", turn)
            picked = draws.choice(len(measured), min(5 * POPULATION, len(measured)), replace=False)
            part = [measured[index] for index in sorted(picked)]
            search = self.search_settings(SEARCHES[turn % len(SEARCHES)])
            seed = seed_for(SEED, "proposals", turn)
            proposed = propose(self.space, self.shape, part, self.importance, search, 1, seed, 4)
            chosen |= {row["architecture"]: Architecture.from_row(row) for row in proposed}
            chosen = {name: architecture for name, architecture in chosen.items() if name not in known}
        return [*chosen.values()][:count]


class Measurer:
    """Scores architectures on the search and the report split of a task."""

    def __init__(self, run: Run, task: str) -> None:
        import torch

        from llamanas.search.judge import Judge

        self.run, self.device = run, "cuda:0" if torch.cuda.is_available() else "cpu"
        rows = read_table(run.folder / f"results/tasks/{task}/questions.parquet", "questions").to_pylist()
        self.items = {split: [row for row in rows if row["split"] == split] for split in ("search", "report")}
        self.judges = {split: Judge(items, run.config["data"]["metric"]) for split, items in self.items.items()}

    def __call__(self, rows: list[dict]) -> Iterator[dict]:
        """The rows with means, the score's standard error over items and n of each split, and ``search_items``.

        The mean log-probability of the right choice, another smooth score, is there to be compared.
        """
        from llamanas.search.evaluate import measure

        by_split = {}
        for split, items in self.items.items():
            with tempfile.TemporaryDirectory() as resume:
                measured = measure(
                    self.run.supernet, self.device, self.run.config["compute"], rows, items, Path(resume)
                )
            by_split[split] = [self._columns(split, *each) for each in measured]
        for row, search, report in zip(rows, by_split["search"], by_split["report"], strict=True):
            del report["report_items"]
            yield row | search | report

    def _columns(self, split: str, architecture: Architecture, values: NDArray) -> dict:
        judge = self.judges[split]
        means, verdicts = judge.means(architecture, values), judge(values)
        n = len(verdicts.score)
        return {
            f"{split}_score": means["search_score"],
            f"{split}_accuracy": means["search_accuracy"],
            f"{split}_log_probability": float(2 * np.log(np.maximum(verdicts.score, 1e-300)).mean()),
            f"{split}_score_error": float(verdicts.score.std(ddof=1) / np.sqrt(n)),
            f"n_{split}": n,
            f"{split}_items": {"score": verdicts.score, "credit": verdicts.credit},
        }


def measure(options: argparse.Namespace, run: Run) -> None:
    """Write the table, and beside it what each architecture answered to each item of the search split.

    Both are written after each block, so that an interrupted measurement leaves a table of what it has.
    """
    measurer = Measurer(run, options.task)
    sampled = run.sample(round(SAMPLED * options.count), SEED)
    done: list[dict] = []
    for origin, architectures in (("sampled", sampled), ("searched", None)):
        if architectures is None:
            architectures = run.searched(done, options.count - len(done))
        for first in range(0, len(architectures), BLOCK):
            rows = [a.row(run.shape, 4) | {"origin": origin} for a in architectures[first : first + BLOCK]]
            done += measurer(rows)
            write(done, options.table)
            print(f"{len(done)} of {options.count} architectures measured", flush=True)


def write(rows: list[dict], path: Path) -> None:
    """The table at ``path``, and the answers to the search split's items as ``<name>_items.parquet`` beside it."""
    names = [*COLUMNS, *(name for name in rows[0] if name not in COLUMNS and not name.endswith("_items"))]
    table = pa.Table.from_pylist([{name: row[name] for name in names} for row in rows])
    items = pa.table(
        {
            "architecture": [row["architecture"] for row in rows],
            "score": pa.array([row["search_items"]["score"].astype(np.float16) for row in rows]),
            "credit": pa.array([row["search_items"]["credit"].astype(np.float16) for row in rows]),
        }
    )
    for content, target in ((table, path), (items, path.with_name(f"{path.stem}_items.parquet"))):
        with whole_file(target) as temporary:
            pq.write_table(content, temporary, compression="zstd", compression_level=19)
