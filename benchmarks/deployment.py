"""Speed and accuracy of sub-networks as they are deployed, each against the full network in the same run.

    python benchmarks/deployment.py --supernet FOLDER --case speed|eager|accuracy [--networks full,1.2,1.5]
        [--recipes fp32,int8,int4_mixed] [--runtime onnxruntime_cuda] [--tasks FOLDER]

The super-network is the folder results/supernet of a run. A network is `full`, or a number: the largest rung of the
importance ladder that is so many times smaller. A recipe is fp32, `torch` (float32 in PyTorch), one of the default
configuration, `int4` (all products at 4 bits), or `int8_plain` (`int8` without equalized inputs). Files are made when
they are missing, below --work, and kept there.

* `speed` times each network in turn with the full network, in the same runtime and recipe; files on a GPU with
  `--runtime onnxruntime_cuda` or `onnxruntime_tensorrt`.
* `eager` times each recipe's full network in turn with transformers' own model in eager PyTorch, float32.
* `accuracy` answers the items of each Parquet file of --tasks, named after lm-eval's tasks, by the exported file.

    python benchmarks/deployment.py --device cuda --shape llama2-7b [--batches 1,8] [--contexts 512,2048]

times random weights of a shape in PyTorch: the full network against one with three quarters of its layers, every second
MLP halved. On a GPU the arithmetic is bfloat16 and each phase is a CUDA graph.

Rows are put into speed.parquet and quantization.parquet in docs/results (or --results), in place of older ones of the
same key. Speedups are medians over rounds in which both networks ran in turn, and `low` and `high` the least and the
most of them; `size_ratio` is in bytes of the file, or of the weights in PyTorch.
"""

import argparse
import json
import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from llamanas import settings  # noqa: E402
from llamanas.architecture import Architecture, ModelShape  # noqa: E402
from llamanas.benchmark.speed import Engine, speed_rows  # noqa: E402
from llamanas.benchmark.torch_network import TorchNetwork  # noqa: E402
from llamanas.devices import ONNX_ON_GPU, check_runtimes  # noqa: E402
from llamanas.models.families import read_config, shape_of  # noqa: E402
from llamanas.report.summary import paired_ratio  # noqa: E402

SEED = 2405
SHAPES = {
    "llama2-7b": {"layers": 32, "hidden": 4096, "width": 11008, "heads": 32, "vocabulary": 32000},
    "llama-1.3b": {"layers": 22, "hidden": 2048, "width": 5632, "heads": 32, "vocabulary": 32000},
    "tiny": {"layers": 4, "hidden": 64, "width": 128, "heads": 4, "vocabulary": 320},
}
SPEED = pa.schema(
    {
        "hardware": pa.string(),
        "threads": pa.int32(),
        "runtime": pa.string(),
        "recipe": pa.string(),
        "pick": pa.string(),
        "baseline": pa.string(),
        "size_ratio": pa.float64(),
        "batch": pa.int32(),
        "context": pa.int32(),
        "rounds": pa.int32(),
        "prefill_speedup": pa.float64(),
        "prefill_low": pa.float64(),
        "prefill_high": pa.float64(),
        "decode_speedup": pa.float64(),
        "decode_low": pa.float64(),
        "decode_high": pa.float64(),
        "smaller_not_faster": pa.bool_(),
        "prefill_tokens_per_s": pa.float64(),
        "decode_tokens_per_s": pa.float64(),
        "time_to_first_token_s": pa.float64(),
        "share_of_bandwidth": pa.float64(),
        "file_bytes": pa.int64(),
        "peak_memory_bytes": pa.int64(),
        "command": pa.string(),
    }
)
SPEED_KEY = ["hardware", "threads", "runtime", "recipe", "pick", "baseline", "batch", "context"]
QUANTIZATION = pa.schema(
    {
        "task": pa.string(),
        "pick": pa.string(),
        "runtime": pa.string(),
        "recipe": pa.string(),
        "file_bytes": pa.int64(),
        "size_ratio": pa.float64(),
        "accuracy": pa.float64(),
        "ci_low": pa.float64(),
        "ci_high": pa.float64(),
        "accuracy_fp32": pa.float64(),
        "difference": pa.float64(),
        "difference_ci_low": pa.float64(),
        "difference_ci_high": pa.float64(),
        "n": pa.int32(),
        "command": pa.string(),
    }
)
QUANTIZATION_KEY = ["task", "pick", "runtime", "recipe", "n"]
INT4 = {"method": "weight_only", "bits": 4, "symmetric": False, "eight_bits": []}
INT8_PLAIN = {"method": "weight_only", "bits": 8, "eight_bits": [], "equalize": False}
MEDIANS = "prefill_tokens_per_s", "decode_tokens_per_s", "time_to_first_token_s", "share_of_bandwidth"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", choices=SHAPES, help="time random weights of this shape")
    parser.add_argument("--supernet", type=Path, help="folder results/supernet of a run")
    parser.add_argument("--case", choices=("speed", "eager", "accuracy"), default="speed")
    parser.add_argument("--networks", default="full,1.2,1.5")
    parser.add_argument("--recipes", default="fp32,int8,int4_mixed")
    parser.add_argument("--runtime", choices=("onnxruntime", *ONNX_ON_GPU), default="onnxruntime")
    parser.add_argument("--tasks", help="folder of Parquet files named after lm-eval's tasks")
    parser.add_argument("--items", type=int, help="items of each task, drawn by hash; default all")
    parser.add_argument("--calibration-tokens", type=int, default=96)
    parser.add_argument("--work", type=Path, default=Path("deployment"), help="where files are kept")
    parser.add_argument("--batches", type=numbers, default=[1])
    parser.add_argument("--contexts", type=numbers, default=[128])
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=ROOT / "docs/results")
    return parser.parse_args()


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def record(path: Path, rows: list[dict], schema: pa.Schema, key: list[str]) -> None:
    """Put rows into a table, in place of older ones of the same key."""
    command = shlex.join(["python", "benchmarks/deployment.py", *sys.argv[1:]])
    kept = pq.read_table(path).to_pylist() if path.exists() else []
    table = {tuple(row[name] for name in key): row for row in kept}
    table |= {tuple(row[name] for name in key): row | {"command": command} for row in rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(table.values()), schema), path)
    for row in rows:
        print({name: row[name] for name in [*key, *row] if name not in ("hardware", "command")}, flush=True)


def timed(timings: Iterable[dict], about: dict, reference: bool = False) -> list[dict]:
    """Rows of the table from rows of artifact ``speed``; ``reference``: the network was timed against itself."""
    rounds = defaultdict(list)
    for timing in timings:
        rounds[timing["batch"], timing["prompt_tokens"]].append(timing)
    rows = []
    for (batch, context), some in rounds.items():
        names = "hardware", "threads", "runtime", "file_bytes", "peak_memory_bytes"
        row = {name: some[0].get(name) for name in names} | about
        row |= {"batch": batch, "context": context, "rounds": len(some)}
        ratios = {phase: paired_ratio(some, phase) for phase in ("prefill", "decode")}
        for phase, ratio in ratios.items():
            row |= {f"{phase}_speedup": ratio.median, f"{phase}_low": ratio.low, f"{phase}_high": ratio.high}
        row["smaller_not_faster"] = not reference and min(ratio.low for ratio in ratios.values()) <= 1
        row |= {name: median(timing[name] for timing in some) for name in MEDIANS}
        rows.append(row)
    return rows


def conditions(options: argparse.Namespace) -> dict:
    """What section ``benchmark`` of a configuration says."""
    sizes = {"batches": options.batches, "contexts": options.contexts}
    return sizes | {"new_tokens": options.new_tokens, "repeats": options.repeats}


def random_tensors(shape: ModelShape, architecture: Architecture, device: str, dtype: str) -> dict[str, Tensor]:
    """Random weights of a sub-network by Hugging Face name."""
    generator = torch.Generator(device).manual_seed(SEED)
    options = {"device": device, "dtype": getattr(torch, dtype)}

    def matrix(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator, **options) * columns**-0.5

    size, ones = shape.hidden_size, torch.ones(shape.hidden_size, **options)
    tables = ("model.embed_tokens.weight", "lm_head.weight")
    weights = {name: matrix(shape.vocabulary_size, size) for name in tables} | {"model.norm.weight": ones}
    for number, layer in enumerate(architecture.kept_layers):
        prefix, width = f"model.layers.{number}.", architecture.intermediate_sizes[layer]
        rows = {"q": shape.query_size, "k": shape.kv_size, "v": shape.kv_size}
        weights |= {f"{prefix}self_attn.{part}_proj.weight": matrix(count, size) for part, count in rows.items()}
        weights |= {f"{prefix}mlp.{part}_proj.weight": matrix(width, size) for part in ("gate", "up")}
        weights[f"{prefix}self_attn.o_proj.weight"] = matrix(size, shape.query_size)
        weights[f"{prefix}mlp.down_proj.weight"] = matrix(size, width)
        weights |= {f"{prefix}{name}layernorm.weight": ones for name in ("input_", "post_attention_")}
    return weights


def three_quarters(shape: ModelShape) -> Architecture:
    """Three quarters of the layers, every second MLP halved."""
    kept = 3 * shape.layers // 4
    widths = [(shape.intermediate_size // (1 + layer % 2)) if layer < kept else 0 for layer in range(shape.layers)]
    return Architecture(tuple(shape.kv_heads * (layer < kept) for layer in range(shape.layers)), tuple(widths))


def random_case(options: argparse.Namespace) -> None:
    """The full network of a shape against three quarters of its layers, every second MLP halved."""
    sizes = SHAPES[options.shape]
    config = {
        "model_type": "llama", "num_hidden_layers": sizes["layers"], "hidden_size": sizes["hidden"],
        "intermediate_size": sizes["width"], "num_attention_heads": sizes["heads"], "vocab_size": sizes["vocabulary"],
        "tie_word_embeddings": False,
    }  # fmt: skip
    shape, dtype = shape_of(config), "bfloat16" if options.device == "cuda" else "float32"
    networks = {"full": shape.full, "three_quarters_of_the_layers": three_quarters(shape)}
    engines: dict[str, Engine] = {}
    for name, architecture in networks.items():
        tensors = random_tensors(shape, architecture, options.device, dtype)
        engines[name] = TorchNetwork(config, tensors, options.device, dtype)
        del tensors
    for name, engine in engines.items():
        ratio = shape.full.parameters(shape) / networks[name].parameters(shape)
        about = {"recipe": dtype, "pick": f"{options.shape}, random weights, {name}", "baseline": "full network"}
        measured = speed_rows(
            engine, engines["full"], conditions(options), options.threads, SEED, options.device
        )  # fmt: skip
        rows = timed(measured, about | {"size_ratio": ratio}, reference=name == "full")
        record(options.results / "speed.parquet", rows, SPEED, SPEED_KEY)


class Networks:
    """The full network and picks of a super-network, as files that are made when they are asked for."""

    def __init__(self, options: argparse.Namespace) -> None:
        from llamanas.artifacts import read_table
        from llamanas.supernet.ladder import ladder
        from llamanas.supernet.space import SearchSpace, minimum_depth

        self.options, self.folder, self.work = options, options.supernet, options.work
        self.config = settings.complete({})
        self.recipes = self.config["quantize"]["recipes"] | {"int4": INT4, "int8_plain": INT8_PLAIN}
        self.shape = shape_of(read_config(self.folder / "config.json"))
        rows = {name: read_table(self.folder / f"{name}.parquet", name).to_pylist() for name in ("importance", "space")}
        space = SearchSpace.from_rows(rows["space"], minimum_depth(self.shape, self.config["space"]))
        self.rungs = ladder(space, rows["importance"])

    def architecture(self, name: str) -> Architecture:
        """``full``, or the largest rung that is so many times smaller."""
        if name == "full":
            return self.shape.full
        limit = self.shape.full.parameters(self.shape) / float(name)
        return next(rung for rung in self.rungs if rung.parameters(self.shape) <= limit)

    def file(self, name: str, recipe: str) -> Path:
        """The exported file."""
        from llamanas.export.onnx import write_onnx
        from llamanas.quantize.float16 import to_float16
        from llamanas.quantize.network import quantize_network
        from llamanas.quantize.plan import BLOCK, ways_of
        from llamanas.quantize.recipes import MEASURED

        path = self.work / name / recipe / "model.onnx"
        if not path.exists() and recipe == "fp32":
            write_onnx(self.folder, self.architecture(name), path.parent)
        elif not path.exists() and (chosen := self.recipes[recipe])["method"] == "float16":
            to_float16(self.file(name, "fp32"), path)
        elif not path.exists():
            way = ways_of(chosen, self.sensitivity(name) if chosen["method"] in MEASURED else [])
            source, blocks = self.file(name, "fp32"), (chosen.get("block_size", BLOCK), chosen.get("symmetric", False))
            quantize_network(source, path, way, *blocks, self.scales(name) if chosen.get("equalize", True) else None)
        return path

    def scales(self, name: str) -> dict:
        """What the inputs of products are divided by."""
        from llamanas.quantize.equalize import read_scales, scale_rows

        place = self.folder, self.architecture(name), self.tokens(), self.options.device
        return read_scales(self.kept(self.work / name / "scales.json", lambda: scale_rows(*place)))

    def sensitivity(self, name: str) -> list[dict]:
        """Rows of artifact ``bits``."""
        from llamanas.quantize.sensitivity import bits_rows

        place = self.folder, self.architecture(name), self.tokens(), self.options.device
        return self.kept(self.work / name / "bits.json", lambda: bits_rows(*place, self.scales(name)))

    def tokens(self) -> list[int]:
        """Text of the embedded instructions."""
        from tokenizers import Tokenizer

        examples = map(json.loads, (ROOT / "config/instructions/basic.jsonl").read_text().splitlines())
        text = "\n".join(f"{each['instruction']}\n{each['input']}\nAnswer: {each['output']}" for each in examples)
        tokens = Tokenizer.from_file(str(self.folder / "tokenizer.json")).encode(text).ids
        return tokens[: self.options.calibration_tokens]

    def kept(self, path: Path, measure: Callable[[], list[dict]]) -> list[dict]:
        """What was measured before, or is now."""
        if not path.exists():
            torch.set_num_threads(self.options.threads)
            path.write_text(json.dumps(measure()))
        return json.loads(path.read_text())

    @cached_property
    def items(self) -> dict[str, list[dict]]:
        """Items of each task of --tasks, both halves of a task with one scored split, some of them drawn by hash."""
        from evaluation import found_tasks
        from transformers import AutoTokenizer

        from llamanas.data.tasks import load_tasks, task_questions
        from llamanas.randomness import shuffled_by_hash

        tokenizer, chosen = AutoTokenizer.from_pretrained(self.folder), {}
        with tempfile.TemporaryDirectory() as work:
            names, folders = found_tasks(self.options.tasks, Path(work))
            for name in names:
                items = task_questions(load_tasks(name, folders), tokenizer, 2048, None, None)
                scored = {item["source_split"] for item in items if item["split"] == "report"}
                items = [item for item in items if item["source_split"] in scored]
                kept = set(shuffled_by_hash([item["item"] for item in items], "benchmark")[: self.options.items])
                chosen[name] = [item for item in items if item["item"] in kept]
        return chosen

    def file_bytes(self, name: str, recipe: str) -> int:
        path = self.file(name, recipe)
        return path.stat().st_size + path.with_name("model.onnx.data").stat().st_size

    def weight_bytes(self, name: str) -> int:
        return 4 * self.architecture(name).parameters(self.shape)

    def pick(self, name: str) -> str:
        """The network's name in the tables."""
        return name if name == "full" else f"ladder {name}x"


class EagerNetwork:
    """The full network as transformers runs it, with its own cache and no compilation."""

    def __init__(self, folder: Path) -> None:
        import transformers

        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.runtime = f"transformers {transformers.__version__}, torch {torch.__version__} CPU eager"
        self.vocabulary_size = self.model.config.vocab_size
        self.bytes_per_step = 4 * sum(parameter.numel() for parameter in self.model.parameters())
        self.cache_bytes_per_token = 0  # of no interest for a baseline

    def prepare(self, batch: int, prompt_tokens: int, new_tokens: int) -> None:
        """The cache grows by itself."""

    @torch.inference_mode()
    def prefill(self, prompt) -> None:
        self._advance(self.model(torch.from_numpy(prompt), use_cache=True, logits_to_keep=1))

    @torch.inference_mode()
    def decode(self, steps: int) -> None:
        for _ in range(steps):
            self._advance(self.model(self.following, past_key_values=self.cache, use_cache=True))

    def _advance(self, output) -> None:
        self.following, self.cache = output.logits[:, -1:].argmax(-1), output.past_key_values


def speed_case(options: argparse.Namespace, networks: Networks, name: str, recipe: str) -> None:
    """A network in turn with the full one."""
    from llamanas.benchmark.engines import onnx_rows, torch_rows

    about = {"recipe": "fp32" if recipe == "torch" else recipe, "pick": networks.pick(name), "baseline": "full network"}
    if recipe == "torch":
        pick = networks.folder, networks.architecture(name)
        timings = torch_rows(
            pick, networks.folder, conditions(options), options.threads, SEED, options.device, "float32"
        )
        about["size_ratio"] = networks.weight_bytes("full") / networks.weight_bytes(name)
    else:
        files = networks.file(name, recipe), networks.file("full", recipe)
        place = (options.device, ONNX_ON_GPU[options.runtime]) if options.runtime in ONNX_ON_GPU else ()
        timings = onnx_rows(*files, conditions(options), options.threads, SEED, *place)
        about["size_ratio"] = networks.file_bytes("full", recipe) / networks.file_bytes(name, recipe)
    record(options.results / "speed.parquet", timed(timings, about, name == "full"), SPEED, SPEED_KEY)


def eager_case(options: argparse.Namespace, networks: Networks, name: str, recipe: str) -> None:
    """A network in turn with the full one in eager PyTorch, float32."""
    from llamanas.benchmark.session import OnnxEngine

    torch.set_num_threads(options.threads)
    engines = OnnxEngine(networks.file(name, recipe), options.threads), EagerNetwork(networks.folder)
    about = {"recipe": recipe, "pick": networks.pick(name), "baseline": f"full network, {engines[1].runtime}, float32"}
    about["file_bytes"] = networks.file_bytes(name, recipe)
    about["size_ratio"] = networks.weight_bytes("full") / about["file_bytes"]
    timings = speed_rows(*engines, conditions(options), options.threads, SEED, "cpu")
    record(options.results / "speed.parquet", timed(timings, about), SPEED, SPEED_KEY)


def accuracy_case(options: argparse.Namespace, networks: Networks, name: str, recipe: str) -> None:
    """Accuracy of the exported file, and its paired difference from the fp32 file of the same network."""
    import numpy as np
    import onnxruntime as ort

    from llamanas.select.statistics import paired_difference, wilson_interval

    for task, items in networks.items.items():
        own, exact = (credits(options, networks, name, which, task, items) for which in (recipe, "fp32"))
        low, high = wilson_interval(sum(own), len(own), 0.95)
        row = {"task": task, "pick": networks.pick(name), "runtime": f"onnxruntime {ort.__version__} CPU"}
        row |= {"recipe": recipe, "file_bytes": networks.file_bytes(name, recipe), "n": len(own)}
        row["size_ratio"] = networks.file_bytes("full", "fp32") / row["file_bytes"]
        row |= {"accuracy": float(np.mean(own)), "ci_low": low, "ci_high": high, "accuracy_fp32": float(np.mean(exact))}
        difference = paired_difference(own, exact, 0.95, 2000, np.random.default_rng(SEED))
        row |= dict(zip(("difference", "difference_ci_low", "difference_ci_high"), difference, strict=True))
        record(options.results / "quantization.parquet", [row], QUANTIZATION, QUANTIZATION_KEY)


def credits(
    options: argparse.Namespace, networks: Networks, name: str, recipe: str, task: str, items: list[dict]
) -> list[float]:
    """What a file earns for each item; kept beside the file."""
    from llamanas.benchmark.accuracy import measure_credit
    from llamanas.benchmark.lm import ExportedModel
    from llamanas.benchmark.session import Network

    model = networks.file(name, recipe)
    kept = model.with_name(f"{task}-{len(items)}.json")
    if not kept.exists():
        exported = ExportedModel(Network(model, options.threads), None, 2048)
        kept.write_text(json.dumps(measure_credit(exported, items, "acc")))
    return json.loads(kept.read_text())


CASES = {"speed": speed_case, "eager": eager_case, "accuracy": accuracy_case}


def main() -> None:
    options = arguments()
    check_runtimes([options.runtime], options.device == "cuda")
    if options.runtime in ONNX_ON_GPU and (
        options.case != "speed" or options.shape or "torch" in options.recipes.split(",")
    ):
        raise SystemExit("--runtime is where exported files are timed: leave out --case, --shape and recipe torch")
    if options.shape:
        random_case(options)
        return
    networks = Networks(options)
    for name in options.networks.split(","):
        for recipe in options.recipes.split(","):
            CASES[options.case](options, networks, name, recipe)


if __name__ == "__main__":
    main()
