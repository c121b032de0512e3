"""Accuracy of an exported file itself, by lm-eval: the file answers, lm-eval asks and judges."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from llamanas.benchmark.lm import ExportedModel
from llamanas.benchmark.session import Network
from llamanas.errors import LlamaNasError
from llamanas.models.families import read_config
from llamanas.select.statistics import wilson_interval


def accuracy_row(
    model: Path,
    tokenizer_folder: Path,
    tasks: list[Any],
    items: list[str],
    metric: str,
    confidence: float,
    threads: int = 1,
) -> dict:
    """The columns of artifact ``accuracy`` that are measured.

    Raises:
        LlamaNasError: the network cannot be loaded, there are no items, or the task does not know the metric.
    """
    correct = measure_accuracy(model, tokenizer_folder, tasks, items, metric, threads)
    low, high = wilson_interval(sum(correct), len(correct), confidence)
    return {
        "metric": metric,
        "accuracy": float(np.mean(correct)),
        "accuracy_ci_low": low,
        "accuracy_ci_high": high,
        "n": len(correct),
        "correct": correct,
    }


def measure_accuracy(
    model: Path, tokenizer_folder: Path, tasks: list[Any], items: list[str], metric: str, threads: int = 1
) -> list[bool]:
    """Whether an ONNX network answers each item right.

    tasks: lm-eval tasks, the members of a group; items: names ``task/split/index`` of documents of the split that each
    task scores; metric: one that lm-eval computes for these tasks, 1 for a right answer.

    Raises:
        LlamaNasError: the network cannot be loaded, or a task does not know the metric.
    """
    import lm_eval
    from lm_eval.tasks import TaskManager
    from transformers import AutoTokenizer

    samples: dict[str, list[int]] = defaultdict(list)
    places = []
    for item in items:
        name, _, index = item.rsplit("/", 2)
        samples[name].append(int(index))
        places.append((name, int(index)))
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    longest = read_config(tokenizer_folder / "config.json")["max_position_embeddings"]
    results = lm_eval.simple_evaluate(
        model=ExportedModel(Network(model, threads), tokenizer, longest),
        tasks=[task for task in tasks if task.task_name in samples],
        samples={name: sorted(indices) for name, indices in samples.items()},
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
    )
    answers = {(name, row["doc_id"]): row for name, rows in results["samples"].items() for row in rows}
    known = sorted(next(iter(answers.values()))["metrics"])
    if metric not in known:
        raise LlamaNasError(f"task {places[0][0]!r} has no metric {metric!r}; it has {', '.join(known)}.")
    return [bool(answers[place][metric]) for place in places]
