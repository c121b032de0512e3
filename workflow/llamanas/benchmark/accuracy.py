"""Accuracy of an exported file itself: the file answers, by our lm-eval model, the prompts that lm-eval made.

The tokens are those that the super-network was measured on, so that the two compare item by item, and no compute node
needs the task's data. Tests compare both prompts and judgement with lm-eval's own evaluation.
"""

from pathlib import Path

import numpy as np

from llamanas.benchmark.lm import ExportedModel
from llamanas.benchmark.session import Network
from llamanas.search.judge import Judge
from llamanas.select.statistics import wilson_interval


def accuracy_row(
    model: Path, items: list[dict], metric: str, confidence: float, max_tokens: int, threads: int = 1
) -> dict:
    """The columns of artifact ``accuracy`` that are measured.

    Args:
        model: the ONNX file.
        items: rows of artifact ``questions``.
        metric: ``acc`` or ``acc_norm``, which counts for multiple choice.
        confidence: level of the interval.
        max_tokens: longest prompt with its choice.
        threads: CPU threads.

    Raises:
        LlamaNasError: the network cannot be loaded.
    """
    return row_of_credit(ExportedModel(Network(model, threads), None, max_tokens), items, metric, confidence)


def row_of_credit(model: ExportedModel, items: list[dict], metric: str, confidence: float) -> dict:
    """The measured columns of artifact ``accuracy`` for a model that answers ``items``."""
    credit = measure_credit(model, items, metric)
    low, high = wilson_interval(sum(credit), len(credit), confidence)
    return {
        "metric": metric,
        "accuracy": float(np.mean(credit)),
        "accuracy_ci_low": low,
        "accuracy_ci_high": high,
        "n": len(credit),
        "credit": credit,
    }


def measure_credit(model: ExportedModel, items: list[dict], metric: str) -> list[float]:
    """The credit in [0, 1] that a model earns for each item, as :class:`llamanas.search.judge.Judge` gives it."""
    pairs = []
    for item in items:
        for branch, scored in zip(item["branches"], item["scored"], strict=True):
            context = len(branch) - scored
            pairs.append((item["prefix"] + branch[:context], branch[context:]))
    scores = model.score(pairs)
    return Judge(items, metric)(np.array(scores).T).credit.tolist()
