"""Fronts that search algorithms found on one super-network, drawn together, and their picks compared item by item.

    python benchmarks/fronts.py NAME=DIRECTORY [NAME=DIRECTORY ...] --tasks arc_easy piqa

Each directory holds a run of `snakemake results/search/TASK/front.parquet ... --config search='{algorithm: NAME}'`
from the same super-network. Rows of each task's picks are put into fronts.parquet in docs/results (or --results):
accuracy on the report split with its 95 % interval, and the difference from the first run's pick of that name on the
same items with its paired bootstrap interval. fronts.svg shows the fronts on the report split, which no search saw.
"""

import argparse
import sys
from itertools import cycle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from llamanas.artifacts import read_table  # noqa: E402
from llamanas.randomness import generator  # noqa: E402
from llamanas.report.style import BLUE, GREEN, PURPLE, VERMILION, drawing  # noqa: E402
from llamanas.select.front import credits_of  # noqa: E402
from llamanas.select.statistics import paired_difference  # noqa: E402

SEED, CONFIDENCE, RESAMPLES = 2405, 0.95, 10_000
LOOKS = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "x"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=DIRECTORY")
    parser.add_argument("--tasks", nargs="+", default=["arc_easy", "piqa"])
    parser.add_argument("--results", type=Path, default=ROOT / "docs/results")
    return parser.parse_args()


def pick_rows(runs: dict[str, Path], task: str) -> list[dict]:
    """A row of each run's picks of a task but the full network."""
    folders = {name: run / "results/search" / task for name, run in runs.items()}
    picks = {name: read_table(folder / "picks.parquet", "picks").to_pylist() for name, folder in folders.items()}
    credit = {
        name: credits_of(read_table(folder / "answers.parquet", "answers").to_pylist())
        for name, folder in folders.items()
    }
    first = {row["pick"]: row["architecture"] for row in picks[next(iter(runs))]}
    rows = []
    for name, mine in picks.items():
        full = next(row["parameters"] for row in mine if row["pick"] == "full")
        for row in mine:
            if row["pick"] == "full":
                continue
            reference = credit[next(iter(runs))][first[row["pick"]]]
            pair = [credit[name][row["architecture"]][item] for item in reference], [*reference.values()]
            draw = generator(SEED, "fronts", task, name, row["pick"])
            difference, low, high = paired_difference(*pair, CONFIDENCE, RESAMPLES, draw)
            rows.append(
                {"task": task, "algorithm": name, "pick": row["pick"], "parameters": row["parameters"]}
                | {"size_ratio": full / row["parameters"], "search_score": row["search_score"]}
                | {key.removeprefix("report_"): row[key] for key in ("report_accuracy", "report_ci_low")}
                | {"ci_high": row["report_ci_high"], "n": row["n_report"]}
                | {"difference": difference, "difference_ci_low": low, "difference_ci_high": high}
            )
    return rows


def draw_fronts(runs: dict[str, Path], tasks: list[str]) -> str:
    """SVG of each task's fronts: report accuracy with 95 % intervals against parameters."""
    title = "Fronts of search algorithms on the report split"
    with drawing("fronts", title, 2.9 * len(tasks)) as drawn:
        figure = drawn.figure
        for axes, task in zip(figure.subplots(len(tasks), squeeze=False).flat, tasks, strict=True):
            for (name, run), (color, marker) in zip(runs.items(), cycle(LOOKS), strict=False):
                front = read_table(run / "results/search" / task / "front.parquet", "front").to_pandas()
                accuracy = 100 * front["report_accuracy"]
                sides = [accuracy - 100 * front["report_ci_low"], 100 * front["report_ci_high"] - accuracy]
                axes.errorbar(
                    front["parameters"] / 1e6, accuracy, sides, fmt=marker, color=color, markersize=4, linewidth=0.5,
                    label=f"{name} ({len(front)} members)", alpha=0.8,
                )  # fmt: skip
            axes.set(
                title=f"{task}, n {front['n_report'].iloc[0]}", ylabel="accuracy (%)", xlabel="parameters (millions)"
            )
            axes.legend(fontsize=7, loc="lower right")
    return drawn.svg


def main() -> None:
    options = arguments()
    runs = {name: Path(folder) for name, folder in (given.split("=", 1) for given in options.runs)}
    rows = [row for task in options.tasks for row in pick_rows(runs, task)]
    pq.write_table(pa.Table.from_pylist(rows), options.results / "fronts.parquet", compression="zstd")
    (options.results / "fronts.svg").write_text(draw_fronts(runs, options.tasks))
    for row in rows:
        print(
            f"{row['task']}, {row['algorithm']}, {row['pick']}: {row['size_ratio']:.2f} times smaller, "
            f"{100 * row['accuracy']:.1f} % ({100 * row['ci_low']:.1f} to {100 * row['ci_high']:.1f}, n {row['n']}), "
            f"{100 * row['difference']:+.1f} ({100 * row['difference_ci_low']:+.1f} to "
            f"{100 * row['difference_ci_high']:+.1f}) against {next(iter(runs))}"
        )


if __name__ == "__main__":
    main()
