"""Candidate evaluation against lm-eval's own `hf` model: the same answers, and how much faster.

    python benchmarks/evaluation.py [--tasks DIR_OR_NAMES] [--items N] [--device cpu|cuda] [--dtype float32|bfloat16]

prints a JSON line per case, task and network. The super-network is that of a finished run (--run, default the working
directory); where there is none, the default base model is fetched and ranked on the tasks' training items. --tasks
takes names (arc_easy,piqa), a folder of lm-eval YAML files, or a folder of Parquet files named after lm-eval's tasks,
which are read instead of the hub's data.

Cases:

* `single`: a network by itself, the baseline being lm-eval with the extracted Hugging Face folder, at the batch size
  that is the fastest of a few on some of the items. Both start from loaded weights and end with a score for every
  choice. The baseline tokenizes every time, as it must; the items of the workflow were tokenized once for all
  candidates (`prepare` is what that took). `baseline_own_difference` is how much lm-eval's own log-likelihoods of some
  of the items change with another batch size, by rounding alone.
* `exact`: how far the log-likelihoods of both are from those that the same networks have in float64, on the CPU.
* `population`: 50 candidates that LINAS proposes after a measured generation of 50, against the same candidates one by
  one. `sub_layers` and `sub_layers_alone` are the sub-layers that were computed with and without sharing.
* `items`, `depth`, `candidates`: seconds per candidate against their number.
* `limit`: measured time against the arithmetic limit.
"""

import argparse
import contextlib
import json
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from llamanas import settings  # noqa: E402
from llamanas.architecture import Architecture  # noqa: E402
from llamanas.artifacts import read_table  # noqa: E402
from llamanas.data.instructions import train_examples  # noqa: E402
from llamanas.data.packing import epochs, pack  # noqa: E402
from llamanas.data.tasks import load_tasks, task_questions  # noqa: E402
from llamanas.devices import processor  # noqa: E402
from llamanas.export.huggingface import write_folder  # noqa: E402
from llamanas.models.decoder import Decoder, load_decoder  # noqa: E402
from llamanas.models.fetch import fetch_model  # noqa: E402
from llamanas.models.linear import linear  # noqa: E402
from llamanas.randomness import shuffled_by_hash  # noqa: E402
from llamanas.search.batches import batches, packed_rows  # noqa: E402
from llamanas.search.judge import Judge  # noqa: E402
from llamanas.search.propose import propose  # noqa: E402
from llamanas.search.score import Scorer  # noqa: E402
from llamanas.search.trie import build_trie  # noqa: E402
from llamanas.supernet.build import copy_companions, write_weights  # noqa: E402
from llamanas.supernet.importance import sensitivity_rows, unit_rows  # noqa: E402
from llamanas.supernet.order import full_bands, order_units, unit_orders  # noqa: E402
from llamanas.supernet.space import SearchSpace, search_space  # noqa: E402

SEED = 2405
POPULATION = 50
PEAK_SIZE = {"cpu": 2048, "cuda": 8192}  # of the square matrices whose product tells the arithmetic limit
BATCH_SIZES = {"cpu": (1, 8, 32), "cuda": (64, 256, 1024)}
NOT_COMPARED = dict.fromkeys(
    ("baseline_items_per_s", "items_per_s", "speedup", "same_answers", "max_loglikelihood_difference")
)  # keys that every line has
SAMPLE = 200  # items on which the baseline's batch size is found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="mini_commonsense,mini_language,mini_truthful")
    parser.add_argument("--items", type=int, help="items of each task, drawn by hash; default all that it scores")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--run", type=Path, default=Path.cwd(), help="directory of a finished run")
    parser.add_argument("--configfile", type=Path, help="settings of the run, where they differ from the default")
    parser.add_argument("--subnets", type=int, default=5, help="random sub-networks beside the full network")
    parser.add_argument("--batch-sizes", help="of lm-eval, the fastest is taken; default " + str(BATCH_SIZES))
    parser.add_argument("--cases", default="single,population,items,depth,candidates,limit")
    options = parser.parse_args()
    given = options.batch_sizes
    options.batch_sizes = [int(size) for size in given.split(",")] if given else BATCH_SIZES[options.device]
    return options


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Measured FLOP/s of a large matrix product of random numbers, the practical peak of the hardware."""
    size = PEAK_SIZE[device]
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def product() -> None:
        linear(a, b)
        if device == "cuda":
            torch.cuda.synchronize()

    timed(product, 3)
    return 2 * size**3 / timed(product, 10)[0]


def kind(entry: Any) -> str:
    """What lm-eval's index says that a name is: TASK, GROUP, or nothing."""
    return entry.kind.name if entry else ""


def found_tasks(given: str, work: Path) -> tuple[list[str], list[Path]]:
    """Names of the tasks, and the folders that their YAML files are in."""
    folder = Path(given)
    if not folder.is_dir():
        return given.split(","), [ROOT / "config/tasks"]
    if names := [yaml.safe_load(path.read_text())["task"] for path in sorted(folder.glob("*.yaml"))]:
        return names, [folder]
    from lm_eval.tasks import TaskManager

    index = TaskManager().task_index
    files = {
        path.stem: path.resolve() for path in sorted(folder.glob("*.parquet")) if kind(index.get(path.stem)) == "TASK"
    }
    for name, path in files.items():
        local: dict[str, Any] = {"include": str(index[name].yaml_path), "task": name, "dataset_path": "parquet"}
        local |= {"dataset_name": None, "training_split": None, "validation_split": None, "test_split": "test"}
        local["dataset_kwargs"] = {"data_files": {"test": str(path)}}
        (work / f"{name}.yaml").write_text(yaml.safe_dump(local))
    return list(files), [work]


def super_network(run: Path, work: Path, config: dict, device: str) -> tuple[Path, list[dict]]:
    """Folder and importance of a finished run's super-network, else of the default base model."""
    if (run / "results/supernet/importance.parquet").exists():
        folder = run / "results/supernet"
        return folder, read_table(folder / "importance.parquet", "importance").to_pylist()
    from transformers import AutoTokenizer

    fetch_model(config["model"]["source"], work / "model", Path(config["downloads"]), "float32")
    tokenizer = AutoTokenizer.from_pretrained(work / "model")
    tasks = load_tasks("mini_language", [ROOT / "config/tasks"])
    items = [item for item in task_questions(tasks, tokenizer, 2048, None, None) if item["split"] == "train"]
    examples = next(epochs([example for item in items for example in train_examples(item)], 768, SEED))
    decoder = load_decoder(work / "model", device)
    batch = pack(examples, device)
    order_units(decoder, unit_orders(unit_rows(decoder, batch, config["space"]), full_bands(decoder.shape)))
    importance = sensitivity_rows(decoder, batch, config["space"])
    write_weights(decoder, work / "supernet/model.safetensors")
    copy_companions(work / "model", work / "supernet")
    return work / "supernet", importance


def timed(function: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Least seconds of some runs, and the last result."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        result = function()
        times.append(perf_counter() - start)
    return min(times), result


def population(space: SearchSpace, decoder: Decoder, items: list[dict], importance: list[dict]) -> list[Architecture]:
    """The candidates of generation 1, after measuring a generation 0 of as many."""
    search = settings.complete({})["search"] | {"population": POPULATION}
    rows = propose(space, decoder.shape, [], importance, search, 0, SEED, 4)
    first = [Architecture.from_row(row) for row in rows]
    values, judge = Scorer(decoder, items).score(first, {}), Judge(items, "acc")
    archive = [row | judge.means(a, values[a.id]) for row, a in zip(rows, first, strict=True)]
    return [
        Architecture.from_row(row) for row in propose(space, decoder.shape, archive, importance, search, 1, SEED, 4)
    ]


def loglikelihoods(sample: dict) -> NDArray:
    """What lm-eval's model answered to the requests of one item."""
    return np.array([float(np.ravel(response[0])[0]) for response in sample["resps"]])


class Benchmark:
    """The cases of one task."""

    def __init__(self, options: argparse.Namespace, task: str, folders: list[Path], folder: Path) -> None:
        from transformers import AutoTokenizer

        self.options, self.task, self.folder = options, task, folder
        self.decoder = load_decoder(folder, options.device, options.dtype)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.tasks = load_tasks(task, folders)
        name = torch.cuda.get_device_name() if options.device == "cuda" else processor()
        threads = "" if options.device == "cuda" else f", {torch.get_num_threads()} threads"
        self.hardware = f"{name}{threads}, {options.dtype}, torch {torch.__version__}, {platform.system()}"
        seconds, items = timed(lambda: task_questions(self.tasks, self.tokenizer, 2048, None, None))
        scored = {item["source_split"] for item in items if item["split"] == "report"}
        items = [item for item in items if item["source_split"] in scored]  # both halves of a task with one split
        chosen = set(shuffled_by_hash([item["item"] for item in items], "benchmark")[: options.items])
        self.items = [item for item in items if item["item"] in chosen]
        self.show(case="prepare", seconds=seconds)

    def show(self, **columns: Any) -> None:
        about = {"task": self.task, "items": len(self.items), "hardware": self.hardware}
        rounded = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in columns.items()}
        print(json.dumps(NOT_COMPARED | rounded | about), file=sys.__stdout__, flush=True)

    def ours(self, architectures: list[Architecture], items: list[dict] | None = None) -> list[NDArray]:
        """Log-likelihoods of sub-networks, measured and judged as in the workflow."""
        items = items or self.items
        values, judge = Scorer(self.decoder, items).score(architectures, {}), Judge(items, "acc")
        for architecture in architectures:
            judge.means(architecture, values[architecture.id])
        return [values[architecture.id] for architecture in architectures]

    def reference(self, folder: Path, batch_size: int, items: list[dict]) -> tuple[float, dict[str, dict]]:
        """Seconds and samples of lm-eval with an extracted folder."""
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        places: dict[str, list[int]] = {}
        for item in items:
            name, _, index = item["item"].rsplit("/", 2)
            places.setdefault(name, []).append(int(index))
        model = HFLM(
            str(folder), dtype=self.options.dtype, device=self.options.device, batch_size=batch_size, max_length=2048,
            trust_remote_code=True,
        )  # fmt: skip
        spent = []

        def with_time(scored: Callable) -> Callable:
            def called(requests: list, **kwargs: Any) -> list:
                seconds, answers = timed(lambda: scored(requests, disable_tqdm=True))
                spent.append(seconds)
                return answers

            return called

        model.loglikelihood = with_time(model.loglikelihood)
        model.loglikelihood_rolling = with_time(model.loglikelihood_rolling)
        result = simple_evaluate(
            model, tasks=self.tasks, samples={name: sorted(indices) for name, indices in places.items()},
            bootstrap_iters=0, task_manager=TaskManager(include_defaults=False),
        )  # fmt: skip
        return sum(spent), {f"{name}/{row['doc_id']}": row for name, rows in result["samples"].items() for row in rows}

    def single(self, space: SearchSpace) -> None:
        draw = np.random.default_rng(SEED)
        networks = [space.full, *(space.random(draw) for _ in range(self.options.subnets))]
        sizes, some, batch_size = self.options.batch_sizes, self.items[:SAMPLE], 0
        self.ours(networks[:1])  # warm up
        for architecture in networks:
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                write_folder(self.folder, architecture, folder, "unknown")
                if not batch_size:  # the best for the full network, on some of the items, serves for all
                    batch_size = min(sizes, key=lambda size: self.reference(folder, size, some)[0])
                seconds, (values,) = timed(lambda a=architecture: self.ours([a]))
                baseline, samples = self.reference(folder, batch_size, self.items)
                _, others = self.reference(folder, next(s for s in sizes if s != batch_size), some)
            rows, same, difference, credit = Judge(self.items, "acc").answers(architecture, values), [], [], []
            for row, item in zip(rows, self.items, strict=True):
                name, _, index = row["item"].rsplit("/", 2)
                sample = samples[f"{name}/{index}"]
                expected = loglikelihoods(sample)
                rolling = item["kind"] == "loglikelihood_rolling"
                own = np.array([sum(row["loglikelihoods"])] if rolling else row["loglikelihoods"])
                difference.append(np.abs(expected - own).max())
                credit.append(sample.get("acc"))
                if item["kind"] == "multiple_choice":
                    same.append(row["chosen"] == expected.argmax())
                else:  # nothing is chosen: the answer counts as right in both or in none; a text has a likelihood alone
                    same.append(difference[-1] < 1e-3 if rolling else row["credit"] == sample["acc"])
            self.show(
                case="single", network="full" if architecture == space.full else architecture.id,
                baseline_batch_size=batch_size, baseline_items_per_s=len(rows) / baseline,
                items_per_s=len(rows) / seconds, speedup=baseline / seconds, same_answers=all(same),
                different_answers=len(rows) - int(sum(same)), max_loglikelihood_difference=float(max(difference)),
                baseline_own_difference=max(
                    float(np.abs(loglikelihoods(samples[name]) - loglikelihoods(other)).max())
                    for name, other in others.items()
                ),
                accuracy=float(np.mean([row["credit"] for row in rows])),
                baseline_accuracy=None if None in credit else float(np.mean(credit)),
            )  # fmt: skip

    def exact(self, space: SearchSpace) -> None:
        draw = np.random.default_rng(SEED)
        precise = load_decoder(self.folder, "cpu", "float64")
        precise.frequencies = precise.frequencies.double()
        for architecture in [space.full, *(space.random(draw) for _ in range(self.options.subnets))]:
            truth = Scorer(precise, self.items).score([architecture], {})[architecture.id][0]
            (own,) = self.ours([architecture])
            with tempfile.TemporaryDirectory() as temporary:
                write_folder(self.folder, architecture, Path(temporary), "unknown")
                _, samples = self.reference(Path(temporary), self.options.batch_sizes[0], self.items)
            names = [item["item"].rsplit("/", 2) for item in self.items]
            baseline = np.concatenate([loglikelihoods(samples[f"{name}/{index}"]) for name, _, index in names])
            self.show(
                case="exact", network="full" if architecture == space.full else architecture.id,
                error=float(np.abs(own[0] - truth).max()), baseline_error=float(np.abs(baseline - truth).max()),
                max_loglikelihood_difference=float(np.abs(own[0] - baseline).max()),
            )  # fmt: skip

    def population(self, candidates: list[Architecture]) -> None:
        self.ours(candidates[:1])
        together, own = timed(lambda: self.ours(candidates))
        alone, expected = timed(lambda: [self.ours([candidate])[0] for candidate in candidates])
        measured, judge = len(candidates) * len(self.items), Judge(self.items, "acc")
        largest = max(float(np.abs(a - b).max()) for a, b in zip(own, expected, strict=True))
        same = all((judge(a).chosen == judge(b).chosen).all() for a, b in zip(own, expected, strict=True))
        self.show(
            case="population", candidates=len(candidates), baseline_items_per_s=measured / alone,
            items_per_s=measured / together, speedup=alone / together, same_answers=same,
            max_loglikelihood_difference=largest, sub_layers=build_trie(candidates).steps,
            sub_layers_alone=sum(len(candidate.steps) for candidate in candidates),
        )  # fmt: skip

    def scaling(self, space: SearchSpace, candidates: list[Architecture], cases: set[str]) -> None:
        full = [space.full]
        if "items" in cases:
            for share in (0.125, 0.25, 0.5, 1):
                items = self.items[: max(int(share * len(self.items)), 1)]
                self.show(
                    case="items", measured_items=len(items), seconds=timed(lambda i=items: self.ours(full, i), 2)[0]
                )
        if "depth" in cases:
            layers = len(space.choices)
            for depth in (layers, 3 * layers // 4, layers // 2):
                kept = [layer < depth for layer in range(layers)]
                widths = (w if keep else 0 for w, keep in zip(space.full.intermediate_sizes, kept, strict=True))
                shorter = Architecture(tuple(kept), tuple(widths))
                self.show(case="depth", depth=depth, seconds=timed(lambda a=shorter: self.ours([a]), 2)[0])
        if "candidates" in cases:
            for count in (1, 5, 10, 25, 50):
                seconds, _ = timed(lambda n=count: self.ours(candidates[:n]))
                self.show(case="candidates", candidates=count, seconds_per_candidate=seconds / count)

    def limit(self, space: SearchSpace) -> None:
        """Tokens that are computed times their arithmetic, over the measured matrix rate, against the measured time."""
        shape, rows = self.decoder.shape, packed_rows(self.items)
        scorer = Scorer(self.decoder, self.items)
        made = batches(rows, scorer.batch_tokens, self.options.device)
        padded = sum(batch.sequence.tokens.numel() for batch in made)
        scored = sum(len(batch.targets) for batch in made)
        layers = shape.layers * (shape.attention_macs(shape.kv_heads) + shape.mlp_macs(shape.intermediate_size))
        flops = 2 * (padded * layers + scored * shape.vocabulary_size * shape.hidden_size)
        seconds, _ = timed(lambda: self.ours([space.full]), 3)
        peak = matrix_rate(self.options.device, getattr(torch, self.options.dtype))
        self.show(
            case="limit", seconds=seconds, tokens=sum(row.length for row in rows), tokens_padded=padded,
            scored_tokens=scored, tera_flop=flops / 1e12, tera_flop_per_s=flops / seconds / 1e12,
            measured_peak_tera_flop_per_s=peak / 1e12, share_of_peak=flops / peak / seconds, limit_seconds=flops / peak,
        )  # fmt: skip


def main() -> None:
    options = arguments()
    cases = set(options.cases.split(","))
    given = yaml.safe_load(options.configfile.read_text()) if options.configfile else {}
    config = settings.complete({"downloads": str(ROOT / "downloads")} | given)
    # What the workflow's functions print belongs to a job's log.
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(sys.stderr):
        work = Path(temporary)
        names, folders = found_tasks(options.tasks, work)
        folder, importance = super_network(options.run, work, config, options.device)
        for name in names:
            benchmark = Benchmark(options, name, folders, folder)
            space = search_space(benchmark.decoder.shape, config["space"])
            if "single" in cases:
                benchmark.single(space)
            if "exact" in cases:
                benchmark.exact(space)
            if "limit" in cases:
                benchmark.limit(space)
            if cases & {"population", "items", "depth", "candidates"}:
                candidates = population(space, benchmark.decoder, benchmark.items, importance)
                if "population" in cases:
                    benchmark.population(candidates)
                benchmark.scaling(space, candidates, cases)


if __name__ == "__main__":
    main()
