"""What the log-likelihoods of a sub-network say of a task's items, judged as lm-eval does."""

import numpy as np
from numpy.typing import NDArray

from llamanas.architecture import Architecture


def answer_rows(architecture: Architecture, items: list[dict], values: NDArray, metric: str) -> list[dict]:
    """Rows of artifact ``answers`` of one sub-network, one per item.

    ``values`` is its array of :meth:`llamanas.search.score.Scorer.score`.
    """
    rows = []
    start = 0
    for item in items:
        part = values[:, start : start + len(item["branches"])]
        start += len(item["branches"])
        row = {"architecture": architecture.id, "item": item["item"], "gold": item["gold"], "weight": item["weight"]}
        rows.append(row | judge(item, part, metric) | {"loglikelihoods": part[0].tolist()})
    return rows


def judge(item: dict, values: NDArray, metric: str) -> dict:
    """What one item's numbers [1 or 2, choices] say: the chosen choice, the credit in [0, 1], and a smooth score.

    Multiple choice: the choice with the highest log-likelihood (``acc``), or the highest per character (``acc_norm``),
    is chosen; credit is given if it is right; the score is the log-probability of the right choices among all.
    Log-likelihood: credit is given if every token of the answer is the most likely one; the score is its
    log-likelihood. Rolling: the credit is the share of tokens that are the most likely ones, the score the
    log-likelihood per word.
    """
    if item["kind"] != "multiple_choice":
        tokens, hits = sum(item["scored"]), values[1].sum()
        credit = hits / tokens if item["kind"] == "loglikelihood_rolling" else hits == tokens
        return {"chosen": 0, "credit": float(credit), "score": float(values[0].sum() / item["weight"])}
    scores = values[0] / np.array(item["lengths"], float) if metric == "acc_norm" else values[0]
    chosen = int(scores.argmax())
    gold = np.logaddexp.reduce(scores[item["gold"]]) - np.logaddexp.reduce(scores)
    return {"chosen": chosen, "credit": float(chosen in item["gold"]), "score": float(gold)}


def mean_scores(answers: list[dict]) -> list[dict]:
    """Rows of artifact ``scores``: the means of each sub-network's answers, in their order.

    The score is the mean weighted by the items' weights, so that for rolling tasks it is that of all words.
    """
    by_architecture: dict[str, list[dict]] = {}
    for row in answers:
        by_architecture.setdefault(row["architecture"], []).append(row)
    return [
        {
            "architecture": name,
            "search_score": float(np.average([r["score"] for r in rows], weights=[r["weight"] for r in rows])),
            "search_accuracy": float(np.mean([row["credit"] for row in rows])),
            "n_search": len(rows),
        }
        for name, rows in by_architecture.items()
    ]
