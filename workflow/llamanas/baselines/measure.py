"""A baseline from pruning to accuracy, and what baselines are compared with: rows of artifact ``baselines``."""

import json
from pathlib import Path

from llamanas.architecture import Architecture
from llamanas.artifacts import read_table, whole_file
from llamanas.baselines.methods import prune
from llamanas.finetune.stages import Training
from llamanas.job import Job
from llamanas.models.decoder import load_decoder
from llamanas.models.families import read_config, shape_of
from llamanas.search.evaluate import measure
from llamanas.search.judge import Judge
from llamanas.select.statistics import wilson_interval
from llamanas.supernet.build import copy_companions, write_weights
from llamanas.supernet.importance import calibration_batch
from llamanas.supernet.ladder import ladder
from llamanas.supernet.order import order_units
from llamanas.supernet.space import search_space


def prepare(run: Job, device: str) -> Training:
    """Prune the fine-tuned network by the job's method to the job's size; the training that follows.

    Everything is kept in the job's folder for resuming alone. Batches and their order are the same for all methods.

    Raises:
        LlamaNasError: the method cannot reach the size.
    """
    examples, folder = run.rows("instructions"), run.resume / "pruned"
    kept = folder / "architecture.json"
    if not kept.exists():  # an interrupted job goes on with its network, though sums on a GPU may differ in a digit
        architecture = _write_pruned(run, examples, folder, device)
        with whole_file(kept) as temporary:
            temporary.write_text(json.dumps([architecture.kv_heads, architecture.intermediate_sizes]))
    heads, widths = json.loads(kept.read_text())
    return Training(
        "baseline", folder, run.resume / "trained/model.safetensors", examples, run.params["baselines"],
        run.seed(), run.params["compute"]["dtype"], run.resume,
        teacher=run.source("weights"), architecture=Architecture(tuple(heads), tuple(widths)), shard=run.shard,
    )  # fmt: skip


def _write_pruned(run: Job, examples: list[dict], folder: Path, device: str) -> Architecture:
    """Write the fine-tuned network with the method's order of units; the architecture that the method gives."""
    source = run.source("weights")
    decoder = load_decoder(source, device)
    batch = calibration_batch(examples, run.params["importance"], run.seed_root, device)
    parameters = int(decoder.shape.full.parameters(decoder.shape) / float(run.wildcards.ratio))
    space, importance = search_space(decoder.shape, run.params["space"]), run.rows("importance")
    architecture, orders = prune(run.wildcards.method, decoder, batch, space, importance, parameters, run.seed())
    order_units(decoder, orders)
    write_weights(decoder, folder / "model.safetensors")
    copy_companions(source, folder)
    return architecture


def baseline_rows(run: Job, training: Training, losses: list[dict], device: str) -> list[dict]:
    """Rows of artifact ``baselines``: the trained network's accuracy on the report split of every task."""
    folder, tokens = training.destination.parent, _tokens(losses)
    shape = shape_of(read_config(folder / "config.json"))
    return _measured(run, folder, [(run.wildcards.method, training.architecture or shape.full, tokens)], device)


def reference_rows(run: Job, device: str) -> list[dict]:
    """Rows of artifact ``baselines`` that the baselines are compared with, on the report split of every task.

    ``pretrained`` and ``finetuned`` are the full network before and after the fine-tuning that all methods start from;
    ``ours`` is, for each wanted size that the importance ladder reaches, the super-network's largest rung that is as
    small, without any search. Training tokens are those after the fine-tuning.
    """
    shape = shape_of(read_config(run.source("supernet") / "config.json"))
    space, importance = search_space(shape, run.params["space"]), run.rows("importance")
    rungs, full = ladder(space, importance), shape.full.parameters(shape)
    tokens = _tokens(run.rows("losses"))
    ours = []
    for ratio in run.params["ratios"]:
        rung = next((rung for rung in rungs if ratio * rung.parameters(shape) <= full), None)
        if rung is None:
            print(f"the ladder reaches no network that is {ratio:g} times smaller")
        else:
            ours.append(("ours", rung, tokens))
    return [
        *_measured(run, run.source("model"), [("pretrained", shape.full, 0)], device),
        *_measured(run, run.source("finetune"), [("finetuned", shape.full, 0)], device),
        *(_measured(run, run.source("supernet"), ours, device) if ours else []),
    ]


def _tokens(losses: list[dict]) -> int:
    """Tokens of the examples in all steps, however many networks a step passed them through."""
    return sum({row["step"]: row["tokens"] for row in losses}.values())


def _measured(run: Job, folder: Path, networks: list[tuple[str, Architecture, int]], device: str) -> list[dict]:
    """Rows of networks with the weights in a folder, each with its method and training tokens."""
    shape = shape_of(read_config(folder / "config.json"))
    candidates = [architecture.row(shape, 4) for _, architecture, _ in networks]
    rows = []
    for path in map(Path, run.input["questions"]):
        questions = [row for row in read_table(path, "questions").to_pylist() if row["split"] == "report"]
        task, judge = path.parent.name, Judge(questions, run.params["metric"])
        resume = run.resume / "measured" / folder.name / task
        measured = measure(folder, device, run.params["compute"], candidates, questions, resume)
        for (method, _, tokens), candidate, (_, values) in zip(networks, candidates, measured, strict=True):
            credit = judge(values).credit
            low, high = wilson_interval(float(credit.sum()), len(credit), run.params["confidence"])
            rows.append({
                "task": task,
                "method": method,
                "seed": run.seed_root,
                "size_ratio": shape.full.parameters(shape) / candidate["parameters"],
                "parameters": candidate["parameters"],
                "training_tokens": tokens,
                "accuracy": float(credit.mean()),
                "ci_low": low,
                "ci_high": high,
                "n": len(credit),
            })  # fmt: skip
    return rows
