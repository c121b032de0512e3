"""How many measurements a search needs: algorithms compared on an oracle, which was fitted on a measured table.

    python benchmarks/search.py measure [--run DIR] [--task NAME] [--count N] [--table TABLE]
    python benchmarks/search.py compare [--run DIR] [--table TABLE] [--seeds N] [--only NAME ...] [--dynast PYTHON]
    python benchmarks/search.py rank [--table TABLE]
    python benchmarks/search.py race [--table TABLE]
    python benchmarks/search.py choose [--run DIR] [--table TABLE]
    python benchmarks/search.py scale [--run DIR]

`measure` scores N architectures of a finished run's super-network on the search and the report split of one task: near
the importance ladder with several spreads, random ones, mixtures of both, and a quarter that searches proposed.

`compare` fits the oracle (search_oracle.py), prints its cross-validated error, and lets each algorithm search on it
with the population and measurements of the published search. An algorithm is told values with the noise of the search
split's items; it is judged by the noise-free accuracy: the hypervolume of the front that it chose by what it was told,
after every measurement, as a share of that of the front of 20,000 ladder and random architectures. `linas` and `ladder`
choose by what all that they were told lets expect (`select.expected`), unless their name says otherwise; the others by
what they were told. The results have the columns algorithm, seed, measurements and hypervolume; searches that they hold
already are not made again, but for `--again`. `--dynast` is the Python of an environment with DyNAS-T
(dynast_adapter.py). With racing, a candidate that was dropped after a part of the items counts as that part of a
measurement.

`rank` tells which column of the search split ranks the report split's accuracy best: the smooth score (mean root of the
right choice's probability), its mean log-probability, or the accuracy.
`scale` tells how long the jobs of a generation take, propose and collect, when so many networks have been measured.
`choose` tells what choosing by the expected score gains over choosing by the measured one, in report accuracy of real
networks: of those that are good on some of the search split's items, a few are drawn and told on others.
`race` tells what racing spares and loses on the real answers in `..._items.parquet`, in generations drawn from them.
"""

import argparse
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import kendalltau
from search_figure import draw_comparison
from search_oracle import Oracle, Yardstick
from search_table import POPULATION, ROOT, SEED, Run, measure

from llamanas.architecture import Architecture
from llamanas.progress import progress
from llamanas.randomness import generator
from llamanas.search.collect import collect
from llamanas.search.propose import propose
from llamanas.search.race import survivors
from llamanas.select.expected import with_expected
from llamanas.select.front import EXPECTED, find_front

MEASUREMENTS = 250  # as published
MARKS = (50, 100, 150, 200, 250)
HEAT, CONFIDENCE = 0.25, 0.95  # racing: share of the items that all candidates answer, and its confidence
BARE = {"use_importance": False}
ALGORITHMS: dict[str, dict] = {
    "random": {"algorithm": "random"} | BARE,
    "nsga2": {"algorithm": "nsga2"} | BARE,
    "dynast": {"score": "search_accuracy"},
    "linas, no ladder": {"algorithm": "linas"} | BARE,
    "linas on accuracy": {"algorithm": "linas", "score": "search_accuracy"},
    "ladder": {"algorithm": "ladder"},
    "nsga2 from the ladder": {"algorithm": "nsga2"},
    "linas, measured front": {"algorithm": "linas"},
    "linas": {"algorithm": "linas"},
    "linas, racing": {"algorithm": "linas", "racing": True},
}
SMOOTH = ("linas", "ladder")  # first words of those that choose by the expected score
SHARES = (0.9, 0.8333, 0.75, 0.6667, 0.5714)  # of the full network's parameters
Tell = Callable[[list[Architecture]], NDArray]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("measure", "compare", "rank", "choose", "race", "scale"))
    parser.add_argument("--run", type=Path, default=Path.cwd(), help="directory of a finished run")
    parser.add_argument("--configfile", type=Path, help="settings of the run, where they differ from the default")
    parser.add_argument("--task", default="arc_easy")
    parser.add_argument("--count", type=int, default=3000, help="architectures to measure")
    parser.add_argument("--table", type=Path, default=ROOT / "benchmarks/search_table.parquet", help="measured table")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=ALGORITHMS, default=[*ALGORITHMS], metavar="NAME")
    parser.add_argument("--again", action="store_true", help="make searches that the results hold already again")
    parser.add_argument("--dynast", type=Path, help="Python of an environment with DyNAS-T; without it, it is left out")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/search_results.parquet")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs/results/search.svg")
    return parser.parse_args()


def searched(run: Run, tell: Tell, changes: dict, seed: int) -> list[dict]:
    """The archive of one of our searches, in the order of measurement; ``spent`` counts measurements so far."""
    search = run.search_settings(changes)
    archive: list[dict] = []
    heats: dict[str, NDArray] = {}
    spent = 0.0
    for generation in range(MEASUREMENTS):  # with racing more than the published number, until all is spent
        rows = propose(run.space, run.shape, archive, run.importance, search, generation, seed, 4)
        if not rows or spent >= MEASUREMENTS:
            break
        items = tell([Architecture.from_row(row) for row in rows])
        answers = {row["architecture"]: scores for row, scores in zip(rows, items, strict=True)}
        if generation == 0:
            full = next(row["architecture"] for row in rows if row["origin"] == "full")
            mean = float(answers[full].mean())
        left, heat = rows, 0.0
        if search.get("racing"):
            heat = HEAT
            few = round(HEAT * items.shape[1])
            heats |= {name: scores[:few] for name, scores in answers.items()}
            front = find_front([row for row in archive if row["whole"]], search["score"], "parameters")
            left = survivors(rows, front, heats, ["parameters"], CONFIDENCE)
            spent += HEAT * len(rows)
        stays = {row["architecture"] for row in left}
        for row in rows:
            name = row["architecture"]
            whole = name in stays
            spent += (1 - heat) * whole
            told = answers[name].mean()
            if not whole:  # by its difference from the full network, whose mean of all items is known
                told = mean + (heats[name] - heats[full]).mean()
            archive.append(row | {search["score"]: float(told), "whole": whole, "spent": spent})
    return archive


def dynast(run: Run, tell: Tell, changes: dict, seed: int, python: Path) -> list[dict]:
    """The archive of DyNAS-T's LINAS, networks that it measured again included."""
    request = {"choices": [len(choices) for choices in run.space.choices], "population": POPULATION}
    request |= {"measurements": MEASUREMENTS, "seed": seed}
    environment = os.environ | {"PYTHONHASHSEED": "0", "LOKY_MAX_CPU_COUNT": "1"}
    command = [str(python), str(Path(__file__).with_name("dynast_adapter.py"))]
    archive: list[dict] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdin and process.stdout
        print(json.dumps(request), file=process.stdin, flush=True)
        for line in process.stdout:
            genes = json.loads(line)
            architecture = run.space.decode(run.space.repair(genes, generator(SEED, "repair", *genes)))
            row = architecture.row(run.shape, 4) | {changes["score"]: float(tell([architecture]).mean())}
            archive.append(row | {"whole": True, "spent": len(archive) + 1})
            if len(archive) == MEASUREMENTS:  # what it would do now, it never measures
                process.terminate()
                return archive
            print(json.dumps([row[changes["score"]], row["parameters"]]), file=process.stdin, flush=True)
    raise SystemExit(f"DyNAS-T ended with status {process.returncode} after {len(archive)} measurements")
    return archive


def results(
    run: Run, options: argparse.Namespace, name: str, seed: int, oracle: Oracle, yardstick: Yardstick
) -> Iterator[dict]:
    """Rows of one search of an algorithm."""
    changes = ALGORITHMS[name]
    score = run.search_settings(changes)["score"]

    def tell(architectures: list[Architecture]) -> NDArray:
        return oracle.items(architectures, score, seed)

    if name.startswith("dynast"):
        archive = dynast(run, tell, changes, seed, options.dynast)
    else:
        archive = searched(run, tell, changes, seed)
    known = yardstick.mark([row for row in archive if row["whole"]])
    smooth = name.startswith(SMOOTH) and not name.endswith("measured front")
    importance = None if changes.get("use_importance") is False else run.importance
    last = min(MEASUREMENTS, int(archive[-1]["spent"] + 1e-9))
    for count in range(1, last + 1):
        front = [row for row in known if row["spent"] <= count + 1e-9]
        front = with_expected(front, run.space, importance, score, smooth)
        share = yardstick.share(front, EXPECTED) if front else 0.0
        yield {"algorithm": name, "seed": seed, "measurements": count, "hypervolume": share}


def compare(options: argparse.Namespace) -> None:
    """Write the results and the figure, and print medians with quartiles."""
    run = Run(options.run, options.configfile)
    oracle = Oracle(run, pq.read_table(options.table).to_pylist())
    yardstick = Yardstick(run, oracle)
    chosen = [name for name in options.only if options.dynast or not name.startswith("dynast")]
    old = pq.read_table(options.out).to_pylist() if options.out.exists() else []
    rows = [row for row in old if not options.again or row["algorithm"] not in chosen]
    order = [*ALGORITHMS]
    for name in chosen:
        left = sorted({*range(options.seeds)} - {row["seed"] for row in rows if row["algorithm"] == name})
        for seed in progress(left, name, len(left), "seed"):
            rows += results(run, options, name, seed, oracle, yardstick)
            rows.sort(key=lambda row: (order.index(row["algorithm"]), row["seed"], row["measurements"]))
            pq.write_table(pa.Table.from_pylist(rows), options.out, compression="zstd")
        for count in MARKS:
            at = [row["hypervolume"] for row in rows if row["algorithm"] == name and row["measurements"] == count]
            if at:
                low, median, high = np.quantile(at, [0.25, 0.5, 0.75])
                print(f"{name}, {count} measurements: {median:.4f} ({low:.4f} to {high:.4f}), {len(at)} seeds")
    options.figure.write_text(draw_comparison(rows))


def rank(options: argparse.Namespace) -> None:
    """Print Kendall's tau of columns of the search split with the report split's accuracy, with intervals.

    Intervals are of 500 resamples of the networks, of which repeats are left out, so that they are rather too wide.
    """
    table = pq.read_table(options.table)
    truth, size = (table[name].to_numpy() for name in ("report_accuracy", "parameters"))
    told = {name: table[f"search_{name}"].to_numpy() for name in ("score", "accuracy", "log_probability")}
    bins = np.argsort(np.argsort(size)) * 20 // len(size)  # networks of like size, between which a front decides

    def taus(chosen: NDArray) -> dict[str, float]:
        groups = {"all networks": [chosen], "like size": [chosen[bins[chosen] == part] for part in range(20)]}
        found = {}
        for among, parts in groups.items():
            each = {
                name: float(np.mean([kendalltau(values[part], truth[part]).statistic for part in parts]))
                for name, values in told.items()
            }
            each |= {f"score minus {name}": each["score"] - each[name] for name in ("accuracy", "log_probability")}
            found |= {f"{name}, {among}": value for name, value in each.items()}
        return found

    draws, n = generator(SEED, "rank"), len(truth)
    drawn = [taus(np.unique(draws.integers(n, size=n))) for _ in progress(range(500), "resample", 500)]
    for label, value in taus(np.arange(n)).items():
        low, high = np.quantile([each[label] for each in drawn], [0.025, 0.975])
        print(f"Kendall's tau, {label}: {value:.3f} (95 % interval {low:.3f} to {high:.3f})")
    print(f"n {n} networks, {table['n_search'][0]} search and {table['n_report'][0]} report items")


def choose(options: argparse.Namespace) -> None:
    """Print by how much the expected score's choice is better than the measured score's, within several sizes."""
    run, table = Run(options.run, options.configfile), pq.read_table(options.table).to_pylist()
    answers = pq.read_table(options.table.with_name(f"{options.table.stem}_items.parquet"))
    scores = np.array(answers["score"].to_pylist(), dtype=float)
    size, full = np.array([row["parameters"] for row in table]), run.space.parameters(run.space.full)
    groups = np.array_split(size.argsort(), 20)
    for items in (50, 100, scores.shape[1] // 2):
        for count in (25, 50, 100, 250):
            draws, gains = generator(SEED, "choose", items, count), []
            for _ in progress(range(100), f"{items} items, {count} networks", 100):
                order = draws.permutation(scores.shape[1])
                others = scores[:, order[items:]].mean(axis=1)
                good = [group[others[group].argsort()[len(group) // 2 :]] for group in groups]
                drawn = draws.choice(np.concatenate(good), count, replace=False)
                told = scores[np.ix_(drawn, order[:items])].mean(axis=1)
                rows = [table[i] | {"search_score": value} for i, value in zip(drawn, told.tolist(), strict=True)]
                rows = with_expected(rows, run.space, run.importance, "search_score", True)
                each = []
                for share in SHARES:
                    small = [row for row in rows if row["parameters"] <= share * full]
                    best = [max(small, key=lambda r, by=by: r[by]) for by in (EXPECTED, "search_score") if small]
                    each += [best[0]["report_accuracy"] - best[1]["report_accuracy"]] if best else []
                gains.append(np.mean(each))
            half = 1.96 * np.std(gains) / len(gains) ** 0.5
            print(f"{items} items, {count} networks: {100 * np.mean(gains):+.2f} points (±{100 * half:.2f}, 100 draws)")


def race(options: argparse.Namespace) -> None:
    """Print how many items racing spares, and how many members of the front it drops, for scores and for credits."""
    table = pq.read_table(options.table)
    names, size = table["architecture"].to_pylist(), table["parameters"].to_pylist()
    answers = pq.read_table(options.table.with_name(f"{options.table.stem}_items.parquet"))
    for column in ("score", "credit"):
        values = np.array(answers[column].to_pylist(), dtype=float)
        rows = [
            {"architecture": name, "origin": "", "parameters": parameters, "score": float(mean), "number": number}
            for number, (name, parameters, mean) in enumerate(zip(names, size, values.mean(axis=1), strict=True))
        ]
        draws, kept, members, lost = generator(SEED, "race", column), [], 0, 0
        for _ in range(200):
            items = draws.permutation(values.shape[1])[: round(HEAT * values.shape[1])]
            chosen = [rows[index] for index in draws.choice(len(rows), POPULATION, replace=False)]
            heats = {row["architecture"]: values[row["number"], items] for row in chosen}
            left = survivors(chosen, [], heats, ["parameters"], CONFIDENCE)
            stays = {row["architecture"] for row in left}
            front = find_front(chosen, "score", "parameters")
            kept.append(len(left) / len(chosen))
            members, lost = members + len(front), lost + sum(row["architecture"] not in stays for row in front)
        spent = HEAT + (1 - HEAT) * np.array(kept)
        low, median, high = np.quantile(spent, [0.25, 0.5, 0.75])
        print(
            f"racing by {column} on {HEAT:.0%} of {values.shape[1]} items: {median:.0%} of the answers are needed "
            f"(quartiles {low:.0%} to {high:.0%}, 200 generations of {POPULATION}), {lost} of {members} members of "
            "the fronts on all items are dropped"
        )


def scale(options: argparse.Namespace) -> None:
    """Print the seconds of proposing and collecting a generation after archives of several lengths.

    The archives hold random architectures, whose scores fall with what they lack.
    """
    run = Run(options.run, options.configfile)
    search, draws = run.search_settings({"algorithm": "linas"}), generator(SEED, "scale")
    archive: dict[str, dict] = {}
    full = run.space.parameters(run.space.full)
    for count in (250, 1000, 3000, 10_000):
        while len(archive) < count:
            row = run.space.random(draws).row(run.shape, 4)
            archive[row["architecture"]] = row | {"search_score": row["parameters"] / full + draws.normal(0, 0.01)}
        rows, begin = [*archive.values()], perf_counter()
        proposed = propose(run.space, run.shape, rows, run.importance, search, 5, SEED, 4)
        between = perf_counter()
        scores = {"search_score": 0.5, "search_accuracy": 0.5, "n_search": 1}
        collect(rows, proposed, [{"architecture": row["architecture"]} | scores for row in proposed])
        print(f"{count:,} measured: {between - begin:.1f} s to propose, {perf_counter() - between:.2f} s to collect")


def main() -> None:
    options = arguments()
    if options.action == "measure":
        measure(options, Run(options.run, options.configfile))
    else:
        {"compare": compare, "rank": rank, "choose": choose, "race": race, "scale": scale}[options.action](options)


if __name__ == "__main__":
    main()
