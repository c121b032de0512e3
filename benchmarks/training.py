"""Super-network training: how fast against a plain loop, and which strategy makes the best sub-networks in equal time.

    python benchmarks/training.py [--run DIR] [--configfile FILE] [--cases speed,strategies] [--seconds S] [--tasks A,B]

prints a JSON line per row. DIR (default: the working directory) is that of a run which has the base model, the tasks
and the instructions (`snakemake results/instructions/instructions.parquet`); its fine-tuned network is used where there
is one, else it is trained here (`speed` alone takes the base model). Settings are those of the configuration.

Cases:

* `speed`: tokens of the examples per second for the same passes (teacher, full network, two sub-networks): `workflow`,
  this package's loop, as it is and compiled, and `plain`, which is what a script around transformers does: its model,
  padded batches, masks in place of slices, losses on full float32 logits, texts of similar length in a batch. Several
  batch sizes; one that does not fit has no numbers. After warm-up steps some are timed, then one is profiled. Columns:
  - `tokens_per_s`, `seconds_per_step`, `warm_up_s` (compilation included), `peak_gb`;
  - `tera_flop_per_s`, which counts the arithmetic that a slicing loop needs, so that both are judged alike, and
    `share_of_peak`, its share of the rate measured for one large matrix product;
  - on a GPU `launches_per_step` (kernels, copies and fills), `launches_per_1000_tokens`, `busy_share` (of a timed
    step's seconds, those in which the GPU computes), `gpu_s` (seconds of a step by kind of kernel), `largest` (seconds
    of single kernels) and `bound_by`: `host` if the GPU is busy less than 80 % of the time, else `products`,
    `attention` or `memory`, the kind with the most seconds;
  - on a CPU `operators_per_step`, those of PyTorch that compute something.
  Two rows of case `best` follow, the fastest of the plain loop and of the workflow, with their ratio (`times_plain`).
* `strategies`: each of VARIANTS trains from the same fine-tuned network for the same seconds, after what is compiled
  has been, without files on the way; then the ladder's rungs of some sizes (`ratio`: at least so many times smaller)
  are measured on the report split of every task: `accuracy`, Wilson interval `ci_low` to `ci_high`, `n`. Column
  `seconds` is the training's, loading included, `deterministic` says whether `compute.deterministic` is set.
"""

import argparse
import contextlib
import gc
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "benchmarks")]

from evaluation import matrix_rate  # noqa: E402

from llamanas import settings  # noqa: E402
from llamanas.architecture import Architecture, ModelShape  # noqa: E402
from llamanas.artifacts import read_table  # noqa: E402
from llamanas.data.packing import divide, epochs  # noqa: E402
from llamanas.devices import add_in_one_order, processor  # noqa: E402
from llamanas.finetune import train as training  # noqa: E402
from llamanas.finetune.parallel import Team  # noqa: E402
from llamanas.finetune.stages import Training, run_training  # noqa: E402
from llamanas.finetune.strategies import Pass  # noqa: E402
from llamanas.finetune.train import LOSSES_AT_ONCE  # noqa: E402
from llamanas.models.decoder import Decoder, load_decoder  # noqa: E402
from llamanas.progress import progress  # noqa: E402
from llamanas.search.judge import Judge  # noqa: E402
from llamanas.search.score import Scorer  # noqa: E402
from llamanas.select.statistics import wilson_interval  # noqa: E402
from llamanas.supernet.importance import calibration_batch, sensitivity_rows, unit_rows  # noqa: E402
from llamanas.supernet.ladder import ladder  # noqa: E402
from llamanas.supernet.order import bands, order_units, unit_orders  # noqa: E402
from llamanas.supernet.space import search_space  # noqa: E402

VARIANTS: dict[str, dict] = {
    "untrained": {"steps": 0},
    **{name: {"strategy": name} for name in ("alternate", "instatune", "sandwich", "stratified")},
    "stratified, random": {"strategy": "stratified", "sampling": "random"},
}
RATIOS = (1.0, 1.2, 1.3, 1.5, 1.75)
WARM_STEPS, TIMED_STEPS, PROFILED_STEPS = 25, 10, 1  # warm-up compiles, for a size that comes late as well
MEASURED_STEPS = 2 * LOSSES_AT_ONCE + 1  # of a strategy, to know how many make up its seconds
BATCHES = {
    "cuda": {"plain": (16384, 24576, 32768), "workflow": (16384, 32768), "workflow, compiled": (16384, 32768, 65536)},
    "cpu": {"plain": (256,), "workflow": (256,)},
}
KINDS = {"products": ("gemm", "nvjet", "cutlass", "xmma"), "attention": ("flash", "fmha", "attention")}  # else memory


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run", type=Path, default=Path.cwd(), help="directory of a run with model, tasks, instructions"
    )
    parser.add_argument("--configfile", type=Path, help="settings of the run, where they differ from the default")
    parser.add_argument("--cases", default="speed,strategies")
    parser.add_argument("--tasks", help="tasks to measure, separated by commas; default: those of the configuration")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=60, help="training time of each strategy")
    parser.add_argument("--variants", type=Path, help="YAML file: settings of section supernet by name, for VARIANTS")
    parser.add_argument("--seed", type=int, default=2405)
    return parser.parse_args()


class Benchmark:
    """What all cases share: data, settings, and the fine-tuned network."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        given = yaml.safe_load(options.configfile.read_text()) if options.configfile else {}
        self.config, self.options, self.work = settings.complete(given), options, work
        self.dtype: str = self.config["compute"]["dtype"]
        if self.config["compute"]["deterministic"]:
            add_in_one_order()
        results = options.run / "results"
        self.examples = read_table(results / "instructions/instructions.parquet", "instructions").to_pylist()
        self.questions = {
            task: [row for row in read_table(results / f"tasks/{task}/questions.parquet", "questions").to_pylist()
                   if row["split"] == "report"]
            for task in (options.tasks.split(",") if options.tasks else self.config["tasks"])
        }  # fmt: skip
        name = torch.cuda.get_device_name() if options.device == "cuda" else processor()
        self.hardware = f"{name}, {self.dtype}, torch {torch.__version__}"
        self.finetuned = results / "finetune"
        if not (self.finetuned / "model.safetensors").exists() and "strategies" not in options.cases:
            self.finetuned = results / "model"
        elif not (self.finetuned / "model.safetensors").exists():
            self.finetuned = work / "finetune"
            self.run("finetune", results / "model", self.finetuned)
        decoder = self.decoder(self.finetuned)
        self.shape: ModelShape = decoder.shape
        self.space = search_space(self.shape, self.config["space"])
        self.importance = self.ranked(decoder, "finetune")

    def show(self, **columns: Any) -> None:
        rounded = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in columns.items()}
        print(
            json.dumps(rounded | {"hardware": self.hardware, "seed": self.options.seed}),
            file=sys.__stdout__,
            flush=True,
        )

    def decoder(self, folder: Path) -> Decoder:
        return load_decoder(folder, self.options.device)

    def ranked(self, decoder: Decoder, stage: str) -> list[dict]:
        """The importance of a network fresh from a stage; its units are put in order."""
        batch = calibration_batch(self.examples, self.config["importance"], self.options.seed, self.options.device)
        space = self.config["space"]
        units = unit_rows(decoder, batch, space)
        order_units(decoder, unit_orders(units, bands(stage, space, self.shape)))
        return units + sensitivity_rows(decoder, batch, space)

    def run(self, stage: str, source: Path, destination: Path, **changes: Any) -> tuple[float, list[dict]]:
        """Seconds and losses of a training as the workflow does it."""
        section = "finetune" if stage == "finetune" else "supernet"
        chosen = self.config[section] | changes
        taught = stage == "train_supernet" and chosen["teacher"] == "finetuned"
        task = Training(
            stage, source, destination / "model.safetensors", self.examples, chosen, self.options.seed, self.dtype,
            self.work / "resume", self.finetuned if taught else None, self.config["space"],
            self.importance if stage == "train_supernet" else [],
        )  # fmt: skip
        (self.work / "resume/state.zip").unlink(missing_ok=True)
        seconds, losses = timed(lambda: run_training(self.options.device, Team(), task))
        return seconds, losses

    def accuracies(self, folder: Path, **columns: Any) -> None:
        """A row per task and size: the ladder's largest rung of at most that size, on the report split."""
        decoder = self.decoder(folder)
        importance = self.ranked(decoder, "finetune" if folder == self.finetuned else "train_supernet")
        full = self.shape.full.parameters(self.shape)
        rungs = ladder(self.space, importance)
        sizes = {ratio: next(r for r in rungs if ratio * r.parameters(self.shape) <= full) for ratio in RATIOS}
        decoder = decoder.to(getattr(torch, self.dtype))
        for task, items in self.questions.items():
            values, judge = Scorer(decoder, items).score(list(sizes.values()), {}), Judge(items, "acc")
            for ratio, rung in sizes.items():
                credit = judge(values[rung.id]).credit
                low, high = wilson_interval(credit.sum(), len(credit), 0.95)
                self.show(
                    case="strategies", task=task, ratio=ratio, size_ratio=full / rung.parameters(self.shape),
                    accuracy=float(credit.mean()), ci_low=low, ci_high=high, n=len(credit), **columns,
                )  # fmt: skip

    def strategies(self) -> None:
        chosen = yaml.safe_load(self.options.variants.read_text()) if self.options.variants else VARIANTS
        for name, changes in chosen.items():
            steps = changes.get("steps")
            changes = changes | {"checkpoint_steps": 10**6}  # files on the way are no strategy's cost
            trial = changes | {"steps": MEASURED_STEPS}
            if steps is None:
                for _ in range(2):  # first to compile
                    with noted_steps() as begun:
                        self.run("train_supernet", self.finetuned, self.work / "warm", **trial)
                # The loop waits for the GPU where it reads losses alone: before these two steps.
                steps = int(self.options.seconds * LOSSES_AT_ONCE / (begun[-1] - begun[LOSSES_AT_ONCE]))
            folder = self.work / "trained"
            seconds, losses = self.run("train_supernet", self.finetuned, folder, **changes | {"steps": steps})
            tokens = sum({row["step"]: row["tokens"] for row in losses}.values())
            about = {"variant": name, "steps": steps, "seconds": seconds, "training_tokens": tokens}
            about["deterministic"] = self.config["compute"]["deterministic"]
            self.accuracies(folder if steps else self.finetuned, **about)

    def passes(self, chosen: dict) -> list[Pass]:
        """The full network and the ladder's rungs of at most 0.8 and 0.6 of its parameters, all taught."""
        full, rungs = self.shape.full.parameters(self.shape), ladder(self.space, self.importance)
        subnets = [next(r for r in rungs if r.parameters(self.shape) <= share * full) for share in (0.8, 0.6)]
        alpha = chosen["answer_weight"]
        return [Pass(network, alpha, 1 - alpha) for network in (self.shape.full, *subnets)]

    def speed(self) -> None:
        chosen = self.config["supernet"] | {"teacher": "finetuned", "checkpoint_steps": 10**6}
        passes = self.passes(chosen)
        networks = [each.architecture for each in passes]
        peak = matrix_rate(self.options.device, getattr(torch, self.dtype))
        per_token = sum(6 * a.macs_per_token(self.shape) for a in networks)
        per_token += 2 * self.shape.full.macs_per_token(self.shape)  # the teacher, forward alone
        head = self.shape.vocabulary_size * self.shape.hidden_size
        share = sum(len(e["answer"]) for e in self.examples) / sum(
            len(e["prompt"] + e["answer"]) for e in self.examples
        )
        per_token -= (1 - share) * head * (6 * len(passes) + 2)  # the head is needed for answers alone

        best: dict[bool, dict] = {}
        for name, sizes in BATCHES[self.options.device].items():
            for batch in sizes:
                clock = Clock(self.options.device)
                about = {"case": "speed", "loop": name, "batch_tokens": batch, "passes": len(passes)}
                try:
                    if name == "plain":
                        Plain(self, passes, batch).steps(clock)
                    else:
                        own = {"method": "full", "compile": name.endswith("compiled"), "batch_tokens": batch}
                        self.own_steps(chosen | own | {"device_tokens": len(passes) * batch}, passes, clock)
                except torch.OutOfMemoryError:
                    self.show(**about, tokens_per_s=None)
                    continue
                finally:
                    gc.collect()
                    torch.cuda.empty_cache()
                rate = clock.tokens / clock.seconds
                about |= {"tokens_per_s": rate, "tera_flop_per_s": rate * per_token / 1e12}
                about |= {"share_of_peak": rate * per_token / peak, **clock.columns()}
                self.show(**about)
                fastest = best.get(name == "plain")
                if fastest is None or rate > fastest["tokens_per_s"]:
                    best[name == "plain"] = about
        plain, own = best[True], best[False]
        for row in (plain, own):
            chosen = {key: row[key] for key in ("loop", "batch_tokens", "tokens_per_s", "share_of_peak")}
            self.show(case="best", **chosen, times_plain=row["tokens_per_s"] / plain["tokens_per_s"])

    def own_steps(self, chosen: dict, passes: list[Pass], clock: "Clock") -> None:
        """Steps of the workflow's loop under a clock, which the plan reads when a step begins."""
        decoder, teacher = self.decoder(self.finetuned), load_decoder(self.finetuned, self.options.device, self.dtype)
        chosen = chosen | {"steps": clock.steps, "checkpoint_steps": 10**6, "checkpointing": False}

        def plan(step: int) -> list[Pass]:
            clock.begin(step)  # what the loop asks about its first two steps beforehand is warm-up
            return passes

        with tempfile.TemporaryDirectory() as folder:
            about = self.examples, chosen, self.options.seed, self.dtype, Path(folder), teacher
            losses = training.train(decoder, plan, *about)
        clock.finish([row["tokens"] for row in losses[:: len(passes)]])


class Operators(TorchDispatchMode):
    """Counts the operators that compute something, of which a GPU launches one kernel or several."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


class Clock:
    """Times some steps of a loop after others have warmed it up, then profiles a few more."""

    steps = WARM_STEPS + TIMED_STEPS + PROFILED_STEPS

    def __init__(self, device: str) -> None:
        from torch.profiler import ProfilerActivity, profile

        self.cuda = device == "cuda"
        self.profile = profile(activities=[ProfilerActivity.CUDA]) if self.cuda else Operators()
        self.times: list[float] = [perf_counter()]
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()

    def begin(self, step: int) -> None:
        """To be called when a step begins."""
        if step in (WARM_STEPS, WARM_STEPS + TIMED_STEPS):
            self._note()
        if step == WARM_STEPS + TIMED_STEPS:
            self.peak = torch.cuda.max_memory_allocated() / 2**30 if self.cuda else None
            self.profile.__enter__()

    def finish(self, tokens: list[int]) -> None:
        """To be called at the end, with the tokens of each step."""
        self._note()
        self.profile.__exit__(None, None, None)
        self.tokens = sum(tokens[WARM_STEPS : WARM_STEPS + TIMED_STEPS])
        self.seconds = self.times[2] - self.times[1]

    def _note(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()
        self.times.append(perf_counter())

    def columns(self) -> dict[str, Any]:
        """What was seen, by the names of the columns."""
        step = self.seconds / TIMED_STEPS
        found: dict[str, Any] = {
            "seconds_per_step": step, "warm_up_s": self.times[1] - self.times[0], "peak_gb": self.peak
        }  # fmt: skip
        if isinstance(self.profile, Operators):
            return found | {"operators_per_step": self.profile.count / PROFILED_STEPS}
        with tempfile.TemporaryDirectory() as folder:
            self.profile.export_chrome_trace(f"{folder}/trace.json")
            events = json.loads(Path(folder, "trace.json").read_text())["traceEvents"]
        work = [event for event in events if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
        names: Counter[str] = Counter()
        for event in work:
            names[event["name"][:80]] += event["dur"] / 1e6 / PROFILED_STEPS
        kinds: Counter[str] = Counter()
        for name, seconds in names.items():
            kinds[next((kind for kind, parts in KINDS.items() if any(p in name for p in parts)), "memory")] += seconds
        busy = sum(names.values()) / step
        launches = len(work) / PROFILED_STEPS
        return found | {
            "launches_per_step": launches, "launches_per_1000_tokens": 1000 * launches * TIMED_STEPS / self.tokens,
            "busy_share": busy, "bound_by": "host" if busy < 0.8 else kinds.most_common(1)[0][0],
            "gpu_s": {kind: float(f"{seconds:.3g}") for kind, seconds in kinds.items()},
            "largest": {name: float(f"{seconds:.3g}") for name, seconds in names.most_common(10)},
        }  # fmt: skip


class Plain:
    """The loop that one writes around transformers: masks, padding, full logits in float32."""

    def __init__(self, benchmark: Benchmark, passes: list[Pass], batch_tokens: int) -> None:
        from transformers import AutoModelForCausalLM

        self.b, self.passes, self.batch_tokens = benchmark, passes, batch_tokens
        load = AutoModelForCausalLM.from_pretrained
        self.device = benchmark.options.device
        self.student, self.teacher = (load(benchmark.finetuned).to(self.device) for _ in range(2))
        self.kept: Architecture = benchmark.shape.full
        for number, layer in enumerate(self.student.model.layers):
            layer.self_attn.o_proj.register_forward_pre_hook(self.mask(number, "attention"))
            layer.mlp.down_proj.register_forward_pre_hook(self.mask(number, "mlp"))
        self.optimizer = torch.optim.AdamW(self.student.parameters(), 1e-5)

    def mask(self, number: int, part: str) -> Callable:
        """Sets to zero what the sub-network lacks of what a part of the layer gathers; Llama's have no bias."""

        def hook(module: Any, given: tuple[Tensor]) -> tuple[Tensor]:
            heads, width = self.kept.sizes[number]
            size = width if part == "mlp" else self.b.shape.attention_sizes(heads)[0]
            return (given[0] * (torch.arange(given[0].shape[-1], device=self.device) < size),)

        return hook

    def steps(self, clock: Clock) -> None:
        """Steps under the clock; the batches that are timed have warmed it up, since every shape is new to it once."""
        done = []
        pool = [*islice(epochs(self.b.examples, self.batch_tokens, self.b.options.seed), 50)]
        texts_by_length = sorted((e for batch in pool for e in batch), key=lambda e: len(e["prompt"] + e["answer"]))
        parts = divide(texts_by_length, len(pool))
        drawn = torch.randperm(len(parts), generator=torch.Generator().manual_seed(0)).tolist()[:TIMED_STEPS]
        for step in range(-TIMED_STEPS, clock.steps):
            if step >= 0:
                clock.begin(step)
            number = drawn[(step - WARM_STEPS) % TIMED_STEPS]
            batch = parts[number]
            texts = [example["prompt"] + example["answer"] for example in batch]
            length = max(map(len, texts))
            tokens = torch.tensor([text + [0] * (length - len(text)) for text in texts], device=self.device)
            mask = torch.tensor([[1] * len(t) + [0] * (length - len(t)) for t in texts], device=self.device)
            labels = torch.tensor(
                [[-100] * len(e["prompt"]) + e["answer"] + [-100] * (length - len(t))
                 for e, t in zip(batch, texts, strict=True)], device=self.device,
            )[:, 1:]  # fmt: skip
            with torch.autocast(self.device, torch.bfloat16, enabled=self.b.dtype == "bfloat16"):
                with torch.no_grad():
                    wanted = self.teacher(tokens, attention_mask=mask).logits[:, :-1].float().log_softmax(-1)
                for each in self.passes:
                    self.kept = each.architecture
                    logits = self.student(tokens, attention_mask=mask).logits[:, :-1].float()
                    answers = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
                    divergence = F.kl_div(logits.log_softmax(-1), wanted, reduction="none", log_target=True).sum(-1)
                    divergence = (divergence * (labels >= 0)).sum() / (labels >= 0).sum()
                    (each.answer_weight * answers + each.teacher_weight * divergence).backward()
            torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            if step >= 0:
                done.append(sum(map(len, texts)))
        clock.finish(done)


@contextlib.contextmanager
def noted_steps() -> Iterator[list[float]]:
    """When each step of a training began, by the clock."""
    begun: list[float] = []

    def noting(*about: Any) -> Iterator[Any]:
        for item in progress(*about):
            begun.append(perf_counter())
            yield item

    training.progress = noting
    try:
        yield begun
    finally:
        training.progress = progress


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, the GPU's work included, and its result."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begin = perf_counter()
    result = function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - begin, result


def main() -> None:
    options = arguments()
    # What the workflow's functions print belongs to a job's log.
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(sys.stderr):
        benchmark = Benchmark(options, Path(temporary))
        for case in options.cases.split(","):
            getattr(benchmark, case)()


if __name__ == "__main__":
    main()
