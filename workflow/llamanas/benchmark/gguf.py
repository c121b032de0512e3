"""Accuracy of a GGUF file as llama.cpp computes it with its default settings (keys and values in float16)."""

from pathlib import Path

import numpy as np

from llamanas.benchmark.accuracy import row_of_credit
from llamanas.benchmark.lm import Counted, ExportedModel, log_softmax
from llamanas.llamacpp import GgufNetwork
from llamanas.progress import progress


class GgufModel(ExportedModel):
    """A GGUF network for lm-eval."""

    def score(self, pairs: list[tuple[list[int], list[int]]]) -> list[Counted]:
        """For each context and continuation: the sum of its log-probabilities, and how many tokens are the likeliest.

        A context that several continuations share is computed once, as one sequence that branches.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, (context, continuation) in enumerate(pairs):
            whole = [*context, *continuation][-self.max_length - 1 :]
            groups.setdefault(tuple(whole[: -len(continuation)]), []).append(index)
        scores: dict[int, Counted] = {}
        for start, indices in progress(groups.items(), "score", unit="group"):
            continuations = [pairs[index][1] for index in indices]
            branches = [continuation[:-1] for continuation in continuations]
            last, *found = self.network.logits(start, branches)
            for index, continuation, rest in zip(indices, continuations, found, strict=True):
                logits = np.concatenate([last, rest])
                chosen = log_softmax(logits)[np.arange(len(continuation)), continuation]
                scores[index] = float(chosen.sum()), int((logits.argmax(-1) == continuation).sum())
        return [scores[index] for index in range(len(pairs))]


def gguf_accuracy_row(
    path: Path, items: list[dict], metric: str, confidence: float, max_tokens: int, threads: int = 1
) -> dict:
    """The measured columns of artifact ``accuracy``, for a GGUF file.

    Arguments are those of :func:`llamanas.benchmark.accuracy.accuracy_row`.

    Raises:
        LlamaNasError: llama.cpp is not installed, or does not load the file.
    """
    model = GgufModel(GgufNetwork(path, threads), None, max_tokens)
    return row_of_credit(model, items, metric, confidence)
