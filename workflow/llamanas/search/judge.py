"""What the log-likelihoods of a sub-network say of a task's items, judged as lm-eval does, all items at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llamanas.architecture import Architecture


class Verdicts(NamedTuple):
    """Per item: the chosen choice, the credit in [0, 1], and a smooth score, the more the better."""

    chosen: NDArray
    credit: NDArray
    score: NDArray


class Judge:
    """Judges answers to rows of artifact ``questions``.

    Multiple choice: the choice with the highest log-likelihood (``acc``), or the highest per character (``acc_norm``),
    is chosen; credit is given if it is right; the score is the square root of the probability of the right choices
    among all, their overlap with the answer (Bhattacharyya coefficient). It tells nearly right from hopeless answers as
    a log-probability does, but has a lower end, so that a few confident mistakes do not decide the mean.
    Log-likelihood: credit is given if every token of the answer is the most likely one; the score is its
    log-likelihood. Rolling: the credit is the share of tokens that are the most likely ones, the score the
    log-likelihood per word.
    """

    def __init__(self, items: list[dict], metric: str) -> None:
        counts = np.array([len(item["branches"]) for item in items])
        places = np.arange(counts.max())
        self.items = items
        self.valid = places < counts[:, None]
        self.index = np.where(self.valid, (counts.cumsum() - counts)[:, None] + places, 0)
        self.has_choices = np.array([item["kind"] == "multiple_choice" for item in items])
        self.rolling = np.array([item["kind"] == "loglikelihood_rolling" for item in items])
        self.gold = np.zeros_like(self.valid)
        self.lengths = np.ones(self.valid.shape)
        for number, item in enumerate(items):
            self.gold[number, item["gold"]] = True
            if metric == "acc_norm" and item["kind"] == "multiple_choice":
                self.lengths[number, : counts[number]] = item["lengths"]
        self.weights = np.array([item["weight"] for item in items])
        self.tokens = np.array([sum(item["scored"]) for item in items])

    def __call__(self, values: NDArray) -> Verdicts:
        """The verdicts on an array [1 or 2, choices of all items] of :meth:`llamanas.search.score.Scorer.score`."""
        logs = np.where(self.valid, values[0][self.index] / self.lengths, -np.inf)
        chosen = np.where(self.has_choices, logs.argmax(1), 0)
        credit = self.gold[np.arange(len(chosen)), chosen].astype(float)
        right = np.logaddexp.reduce(np.where(self.gold & self.valid, logs, -np.inf), axis=1)
        score = np.exp((right - np.logaddexp.reduce(logs, axis=1)) / 2)
        if not self.has_choices.all():
            hits = np.where(self.valid, values[1][self.index], 0).sum(1)
            without = np.where(self.rolling, hits / self.tokens, hits == self.tokens)
            credit = np.where(self.has_choices, credit, without)
            score = np.where(self.has_choices, score, np.where(self.valid, logs, 0).sum(1) / self.weights)
        return Verdicts(chosen, credit, score)

    def means(self, architecture: Architecture, values: NDArray) -> dict:
        """A row of artifact ``scores``; the score is weighted, so that for rolling tasks it is that of all words."""
        _, credit, score = self(values)
        return {
            "architecture": architecture.id,
            "search_score": float(np.average(score, weights=self.weights)),
            "search_accuracy": float(credit.mean()),
            "n_search": len(credit),
        }

    def answers(self, architecture: Architecture, values: NDArray) -> list[dict]:
        """Rows of artifact ``answers``, one per item."""
        columns = [*(column.tolist() for column in self(values)), self.index, self.valid, self.items]
        return [
            {
                "architecture": architecture.id,
                "item": item["item"],
                "chosen": chosen,
                "gold": item["gold"],
                "credit": credit,
                "score": score,
                "weight": item["weight"],
                "loglikelihoods": values[0][index[valid]].tolist(),
            }
            for chosen, credit, score, index, valid, item in zip(*columns, strict=True)
        ]


def mean_of_answers(architecture: str, answers: list[dict]) -> dict:
    """The row of artifact ``scores`` of an architecture, from its rows of artifact ``answers``."""
    weights = [row["weight"] for row in answers]
    return {
        "architecture": architecture,
        "search_score": float(np.average([row["score"] for row in answers], weights=weights)),
        "search_accuracy": float(np.mean([row["credit"] for row in answers])),
        "n_search": len(answers),
    }
