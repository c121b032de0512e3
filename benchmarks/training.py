"""Super-network training: how fast against a plain loop, and which strategy makes the best sub-networks in equal time.

    python benchmarks/training.py [--run DIR] [--configfile FILE] [--cases speed,profile,strategies] [--seconds S]

prints a JSON line per row. DIR (default: the working directory) is that of a run which has the base model, the tasks
and the instructions (`snakemake results/instructions/instructions.parquet`); its fine-tuned network is used where there
is one, else it is trained here. Settings are those of the configuration.

Cases:

* `speed`: tokens of the examples per second for the same passes (teacher, full network, sub-networks): the workflow's
  loop as it is and compiled, and `plain`, which is what a script around transformers does: its model, padded batches,
  masks in place of slices, losses on full float32 logits, texts of similar length in a batch. Several batch sizes.
  `tera_flop_per_s` counts the arithmetic that a slicing loop needs, so that both are judged alike.
* `profile`: the largest parts of three steps.
* `strategies`: each of VARIANTS trains from the same fine-tuned network for the same seconds; then the ladder's rungs
  of some sizes are measured on the report split of every task.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "benchmarks")]

from evaluation import matrix_rate  # noqa: E402

from llamanas import settings  # noqa: E402
from llamanas.architecture import Architecture, ModelShape  # noqa: E402
from llamanas.artifacts import read_table  # noqa: E402
from llamanas.benchmark.speed import processor  # noqa: E402
from llamanas.data.packing import divide, epochs  # noqa: E402
from llamanas.finetune.parallel import Team  # noqa: E402
from llamanas.finetune.stages import Training, run_training  # noqa: E402
from llamanas.finetune.strategies import Pass  # noqa: E402
from llamanas.finetune.train import train  # noqa: E402
from llamanas.models.decoder import Decoder, load_decoder  # noqa: E402
from llamanas.search.judge import Judge  # noqa: E402
from llamanas.search.score import Scorer  # noqa: E402
from llamanas.select.statistics import wilson_interval  # noqa: E402
from llamanas.supernet.importance import calibration_batch, channel_rows, sensitivity_rows  # noqa: E402
from llamanas.supernet.ladder import ladder  # noqa: E402
from llamanas.supernet.order import bands, channel_orders, order_channels  # noqa: E402
from llamanas.supernet.space import search_space  # noqa: E402

VARIANTS: dict[str, dict] = {
    "untrained": {"steps": 0},
    "alternate": {"strategy": "alternate", "sampling": "random"},
    "instatune": {"strategy": "instatune", "sampling": "random", "teacher": "in_place"},
    "sandwich": {"strategy": "sandwich", "sampling": "random", "teacher": "in_place"},
    "stratified": {"strategy": "stratified", "sampling": "random"},
    "stratified near the ladder": {"strategy": "stratified", "sampling": "ladder"},
}
RATIOS = (1.0, 1.2, 1.3, 1.5, 1.75)
TIMED_STEPS = 6


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run", type=Path, default=Path.cwd(), help="directory of a run with model, tasks, instructions"
    )
    parser.add_argument("--configfile", type=Path, help="settings of the run, where they differ from the default")
    parser.add_argument("--cases", default="speed,profile,strategies")
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
        results = options.run / "results"
        self.examples = read_table(results / "instructions/instructions.parquet", "instructions").to_pylist()
        self.questions = {
            task: [row for row in read_table(results / f"tasks/{task}/questions.parquet", "questions").to_pylist()
                   if row["split"] == "report"]
            for task in self.config["tasks"]
        }  # fmt: skip
        name = torch.cuda.get_device_name() if options.device == "cuda" else processor()
        self.hardware = f"{name}, {self.dtype}, torch {torch.__version__}"
        self.finetuned = results / "finetune"
        if not (self.finetuned / "model.safetensors").exists():
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
        """The importance of a network fresh from a stage; its channels are put in order."""
        batch = calibration_batch(self.examples, self.config["importance"], self.options.seed, self.options.device)
        channels, widths = channel_rows(decoder, batch), self.config["space"]["intermediate_sizes"]
        order_channels(decoder, channel_orders(channels, bands(stage, widths, self.shape.intermediate_size)))
        return channels + sensitivity_rows(decoder, batch, sorted({0, *widths}))

    def run(self, stage: str, source: Path, destination: Path, **changes: Any) -> tuple[float, list[dict]]:
        """Seconds and losses of a training as the workflow does it."""
        section = "finetune" if stage == "finetune" else "supernet"
        chosen = self.config[section] | changes
        taught = stage == "train_supernet" and chosen["teacher"] == "finetuned"
        training = Training(
            stage, source, destination / "model.safetensors", self.examples, chosen, self.options.seed, self.dtype,
            self.work / "resume", self.finetuned if taught else None, self.config["space"],
            self.importance if stage == "train_supernet" else [],
        )  # fmt: skip
        (self.work / "resume/state.pt").unlink(missing_ok=True)
        seconds, losses = timed(lambda: run_training(self.options.device, Team(), training))
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
            if steps is None:
                warm = self.work / "warm"
                _, first, more = (
                    self.run("train_supernet", self.finetuned, warm, **changes | {"steps": count})[0]
                    for count in (2, 2, 2 + TIMED_STEPS)
                )
                steps = int(self.options.seconds * TIMED_STEPS / (more - first))
            folder = self.work / "trained"
            seconds, losses = self.run("train_supernet", self.finetuned, folder, **changes | {"steps": steps})
            tokens = sum({row["step"]: row["tokens"] for row in losses}.values())
            about = {"variant": name, "steps": steps, "seconds": seconds, "training_tokens": tokens}
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

        def loops() -> Iterator[tuple[str, int, Callable[[int], int]]]:
            for batch in (4096, 8192, 16384, 24576):
                yield "plain", batch, Plain(self, passes, batch).steps
            for name, compiled in (("workflow", False), ("workflow, compiled", True)):
                for batch in sorted({16384, chosen["batch_tokens"]}):
                    yield (
                        name,
                        batch,
                        lambda n, c=compiled, b=batch: self.own_steps(
                            chosen | {"compile": c, "batch_tokens": b, "steps": n}, passes
                        ),
                    )

        for name, batch, steps in loops():
            if self.options.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            warm, _ = timed(lambda s=steps: s(2 + TIMED_STEPS))  # every batch's shape has to be met once
            first, few = timed(lambda s=steps: s(2))
            more, many = timed(lambda s=steps: s(2 + TIMED_STEPS))
            rate = (many - few) / (more - first)
            self.show(
                case="speed", loop=name, batch_tokens=batch, passes=len(passes), tokens_per_s=rate, warm_up_s=warm,
                tera_flop_per_s=rate * per_token / 1e12, share_of_peak=rate * per_token / peak,
                peak_gb=torch.cuda.max_memory_allocated() / 2**30 if self.options.device == "cuda" else None,
            )  # fmt: skip

    @cached_property
    def pair(self) -> tuple[Decoder, Decoder]:
        """A student that goes on from loop to loop, and its teacher."""
        return self.decoder(self.finetuned), load_decoder(self.finetuned, self.options.device, self.dtype)

    def profile(self) -> None:
        """Where the time of three steps goes: kinds of kernels on a GPU, of operators on a CPU."""
        from torch.autograd import DeviceType
        from torch.profiler import ProfilerActivity, profile

        chosen = self.config["supernet"] | {"teacher": "finetuned", "checkpoint_steps": 10**6, "steps": 3}
        passes = self.passes(chosen)
        self.own_steps(chosen, passes)
        activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (self.options.device == "cuda")]
        with profile(activities=activities) as recorded:
            seconds, _ = timed(lambda: self.own_steps(chosen, passes))
        cuda = self.options.device == "cuda"
        kind = "self_device_time_total" if cuda else "self_cpu_time_total"
        # An operator's time on the device is that of its kernels, which are events as well.
        events = [event for event in recorded.key_averages() if getattr(event, kind) > 0]
        events = [event for event in events if not cuda or event.device_type == DeviceType.CUDA]
        events.sort(key=lambda event: -getattr(event, kind))
        self.show(
            case="profile", seconds=seconds, busy_seconds=sum(getattr(event, kind) for event in events) / 1e6,
            largest={event.key[:80]: round(getattr(event, kind) / 1e6, 4) for event in events[:20]},
        )  # fmt: skip

    def own_steps(self, chosen: dict, passes: list[Pass]) -> int:
        decoder, teacher = self.pair
        with tempfile.TemporaryDirectory() as folder:
            about = self.examples, chosen, self.options.seed, self.dtype, Path(folder), teacher
            losses = train(decoder, lambda step: passes, *about)
        return sum({row["step"]: row["tokens"] for row in losses}.values())


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
            layer.self_attn.register_forward_hook(self.attention_mask(number))
            layer.mlp.down_proj.register_forward_pre_hook(self.width_mask(number))
        self.optimizer = torch.optim.AdamW(self.student.parameters(), 1e-5)

    def attention_mask(self, number: int) -> Callable:
        return lambda module, given, out: (out[0] * float(self.kept.attention[number]), *out[1:])

    def width_mask(self, number: int) -> Callable:
        def hook(module: Any, given: tuple[Tensor]) -> tuple[Tensor]:
            keep = torch.arange(given[0].shape[-1], device=self.device) < self.kept.intermediate_sizes[number]
            return (given[0] * keep,)

        return hook

    def steps(self, count: int) -> int:
        done = 0
        pool = [*islice(epochs(self.b.examples, self.batch_tokens, self.b.options.seed), 50)]
        texts_by_length = sorted((e for batch in pool for e in batch), key=lambda e: len(e["prompt"] + e["answer"]))
        parts = divide(texts_by_length, len(pool))
        for number in torch.randperm(len(parts), generator=torch.Generator().manual_seed(0)).tolist()[:count]:
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
            done += sum(map(len, texts))
        return done


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
