"""Accuracy of an exported file itself, by lm-eval: the file answers, lm-eval asks and judges."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from llamanas.benchmark.lm import ExportedModel
from llamanas.benchmark.session import Network
from llamanas.errors import LlamaNasError
from llamanas.progress import progress
from llamanas.select.statistics import wilson_interval


def accuracy_row(
    model: Path,
    tokenizer_folder: Path,
    tasks: list[Any],
    items: list[dict],
    metric: str,
    confidence: float,
    max_tokens: int,
    threads: int = 1,
) -> dict:
    """The columns of artifact ``accuracy`` that are measured.

    Raises:
        LlamaNasError: the network cannot be loaded, there are no items, or the task does not know the metric.
    """
    credit = measure_accuracy(model, tokenizer_folder, tasks, items, metric, max_tokens, threads)
    low, high = wilson_interval(sum(credit), len(credit), confidence)
    return {
        "metric": metric,
        "accuracy": float(np.mean(credit)),
        "accuracy_ci_low": low,
        "accuracy_ci_high": high,
        "n": len(credit),
        "credit": credit,
    }


def measure_accuracy(
    model: Path,
    tokenizer_folder: Path,
    tasks: list[Any],
    items: list[dict],
    metric: str,
    max_tokens: int,
    threads: int = 1,
) -> list[float]:
    """The credit in [0, 1] that an ONNX network earns for each item.

    Right or wrong, as lm-eval says; of a rolling text, for which it has no accuracy, the share of the tokens that are
    the most likely ones.

    Args:
        model: the ONNX file.
        tokenizer_folder: folder of the tokenizer and of the full network's config.json.
        tasks: lm-eval tasks, the members of a group.
        items: rows of artifact ``questions``, of the split that each task scores.
        metric: ``acc`` or ``acc_norm``, which counts for multiple choice.
        max_tokens: longest prompt with its choice.
        threads: CPU threads.

    Raises:
        LlamaNasError: the network cannot be loaded, or a task does not know the metric.
    """
    network = Network(model, threads)
    if all(item["kind"] == "loglikelihood_rolling" for item in items):
        return [_rolling_credit(network, item) for item in progress(items, "score", len(items), "text")]
    import lm_eval
    from lm_eval.tasks import TaskManager
    from transformers import AutoTokenizer

    samples: dict[str, list[int]] = defaultdict(list)
    places = []
    for item in items:
        name, _, index = item["item"].rsplit("/", 2)
        samples[name].append(int(index))
        places.append((name, int(index), metric if item["kind"] == "multiple_choice" else "acc"))
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    results = lm_eval.simple_evaluate(
        model=ExportedModel(network, tokenizer, max_tokens),
        tasks=[task for task in tasks if task.task_name in samples],
        samples={name: sorted(indices) for name, indices in samples.items()},
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
    )
    answers = {(name, row["doc_id"]): row for name, rows in results["samples"].items() for row in rows}
    credit = []
    for name, index, wanted in places:
        answer = answers[name, index]
        if wanted not in answer["metrics"]:
            known = ", ".join(sorted(answer["metrics"]))
            raise LlamaNasError(f"task {name!r} has no metric {wanted!r}; it has {known}.")
        credit.append(float(answer[wanted]))
    return credit


def _rolling_credit(network: Network, item: dict) -> float:
    """Share of a text's tokens that are the most likely ones, window by window."""
    hits = 0
    for window, scored in zip(item["branches"], item["scored"], strict=True):
        logits, _ = network.run(np.array([window[:-1]]), keep=scored)
        hits += int((logits[0].argmax(-1) == window[-scored:]).sum())
    return hits / sum(item["scored"])
