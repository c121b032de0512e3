"""Speed and accuracy of sub-networks as they are deployed, each against the full network in the same run.

    python benchmarks/deployment.py --device cuda --shape llama2-7b [--batches 1,8] [--contexts 512,2048]

times random weights of a shape in PyTorch: the full network against one with three quarters of its layers, every second
MLP halved. On a GPU the arithmetic is bfloat16 and each phase is a CUDA graph.

Rows are put into docs/results/speed.parquet (or --results); a row of the same hardware, runtime, recipe, pick, batch
and context replaces the older one. Speedups are medians over rounds in which both networks ran in turn, and `low` and
`high` the least and the most of them.
"""

import argparse
import shlex
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from llamanas.architecture import Architecture, ModelShape  # noqa: E402
from llamanas.benchmark.speed import Engine, hardware, measure_speed, memory_bandwidth  # noqa: E402
from llamanas.benchmark.torch_network import TorchNetwork  # noqa: E402
from llamanas.models.families import shape_of  # noqa: E402
from llamanas.report.summary import paired_ratio  # noqa: E402

SEED = 2405
SHAPES = {
    "llama2-7b": {"layers": 32, "hidden": 4096, "width": 11008, "heads": 32, "vocabulary": 32000},
    "tiny": {"layers": 4, "hidden": 64, "width": 128, "heads": 4, "vocabulary": 320},
}
SPEED = pa.schema(
    {
        "hardware": pa.string(),
        "threads": pa.int32(),
        "runtime": pa.string(),
        "recipe": pa.string(),
        "pick": pa.string(),
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
SPEED_KEY = ["hardware", "threads", "runtime", "recipe", "pick", "batch", "context"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", choices=SHAPES, help="time random weights of this shape")
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


class Timer:
    """Times networks of one device."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        torch.set_num_threads(options.threads)
        self.hardware = hardware(options.device)
        self.bandwidth = memory_bandwidth(options.device)
        print(f"{self.hardware}: {self.bandwidth / 1e9:.1f} GB/s", flush=True)

    def rows(self, pick: Engine, full: Engine) -> list[dict]:
        """Rows of the table, but for what is known about the files."""
        options, rounds = self.options, defaultdict(list)
        timings = measure_speed(
            pick, full, options.batches, options.contexts, options.new_tokens, options.repeats, SEED, self.bandwidth
        )
        for timing in timings:
            rounds[timing["batch"], timing["prompt_tokens"]].append(timing)
        rows = []
        for (batch, context), some in rounds.items():
            row = {"hardware": self.hardware, "threads": options.threads, "runtime": pick.runtime, "batch": batch}
            row |= {"context": context, "rounds": len(some)}
            ratios = {phase: paired_ratio(some, phase) for phase in ("prefill", "decode")}
            for phase, ratio in ratios.items():
                row |= {f"{phase}_speedup": ratio.median, f"{phase}_low": ratio.low, f"{phase}_high": ratio.high}
            row["smaller_not_faster"] = pick is not full and min(ratio.low for ratio in ratios.values()) <= 1
            for name in ("prefill_tokens_per_s", "decode_tokens_per_s", "time_to_first_token_s", "share_of_bandwidth"):
                row[name] = median(timing[name] for timing in some)
            rows.append(row)
        return rows


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


def random_case(options: argparse.Namespace) -> None:
    """The full network of a shape against three quarters of its layers, every second MLP halved."""
    sizes = SHAPES[options.shape]
    config = {
        "model_type": "llama", "num_hidden_layers": sizes["layers"], "hidden_size": sizes["hidden"],
        "intermediate_size": sizes["width"], "num_attention_heads": sizes["heads"], "vocab_size": sizes["vocabulary"],
        "tie_word_embeddings": False,
    }  # fmt: skip
    shape, dtype = shape_of(config), "bfloat16" if options.device == "cuda" else "float32"
    kept = 3 * shape.layers // 4
    widths = [(shape.intermediate_size // (1 + layer % 2)) if layer < kept else 0 for layer in range(shape.layers)]
    smaller = Architecture(tuple(layer < kept for layer in range(shape.layers)), tuple(widths))
    timer, engines = Timer(options), {}
    for name, architecture in {"full": shape.full, "three_quarters_of_the_layers": smaller}.items():
        tensors = random_tensors(shape, architecture, options.device, dtype)
        engines[name] = TorchNetwork(config, tensors, options.device, dtype)
        del tensors
    whole = shape.full.parameters(shape)
    for name, architecture in {"full": shape.full, "three_quarters_of_the_layers": smaller}.items():
        about = {"recipe": dtype, "pick": f"{options.shape}, random weights, {name}", "file_bytes": None}
        about |= {"size_ratio": whole / architecture.parameters(shape), "peak_memory_bytes": None}
        rows = [row | about for row in timer.rows(engines[name], engines["full"])]
        record(options.results / "speed.parquet", rows, SPEED, SPEED_KEY)


def main() -> None:
    options = arguments()
    if options.shape:
        random_case(options)


if __name__ == "__main__":
    main()
