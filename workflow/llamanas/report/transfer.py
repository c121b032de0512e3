"""Whether tasks want different networks, from every task's picks measured on every task."""

from math import comb

ALIKE = 0.02  # networks whose sizes differ by no larger share are compared in accuracy alone


def transfer_tables(rows: list[dict]) -> list[dict]:
    """A table for each pick but the full network, from rows of artifact ``transfer``.

    Each has ``pick``, ``tasks`` (the columns) and ``rows``: ``searched``, ``parameters`` and ``cells``, those rows of
    the artifact in the order of the columns.
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    found = {(row["pick"], row["searched"], row["task"]): row for row in rows}
    tables = []
    for pick in dict.fromkeys(row["pick"] for row in rows if row["pick"] != "full"):
        lines = []
        for searched in tasks:
            cells = [found[pick, searched, task] for task in tasks]
            lines.append({"searched": searched, "parameters": cells[0]["parameters"], "cells": cells})
        tables.append({"pick": pick, "tasks": tasks, "rows": lines})
    return tables


def transfer_verdict(rows: list[dict], confidence: float) -> str:
    """What the tables, whose intervals have this confidence, say of different tasks wanting different networks."""
    own = {(row["pick"], row["task"]): row for row in rows if row["searched"] == row["task"]}
    others = [row for row in rows if row["pick"] != "full" and row["searched"] != row["task"]]
    moved = [
        row
        for row in others
        if alike(row, other := own[row["pick"], row["task"]]) and row["architecture"] != other["architecture"]
    ]
    worse = sum(row["own_difference_ci_high"] < 0 for row in moved)
    better = sum(row["own_difference_ci_low"] > 0 for row in moved)
    start = (
        f"Of {len(others)} picks taken to another task, {len(moved)} are another network than that task's own pick of "
        f"the same name and within {ALIKE:.0%} of its size. Of these {worse} are measurably less accurate there, "
        f"{better} measurably more accurate, and {len(moved) - worse - better} cannot be told from it. "
    )
    if not worse:
        return start + "This run does not show that different tasks want different networks."
    if better >= worse:
        return start + "No more lose than gain, which does not show that different tasks want different networks."
    side = (1 - confidence) / 2
    chance = sum(comb(len(moved), k) * side**k * (1 - side) ** (len(moved) - k) for k in range(worse, len(moved) + 1))
    if chance > 1 - confidence:
        return start + (
            f"Of so many intervals, {side * len(moved):.1f} would lie below zero by chance, and {worse} or more with "
            f"probability {chance:.2f}, which does not show that different tasks want different networks."
        )
    return start + "That speaks for different networks."


def alike(row: dict, other: dict) -> bool:
    """Whether two networks are of like size, so that accuracy alone tells which is better."""
    smaller, larger = sorted((row["parameters"], other["parameters"]))
    return larger - smaller <= ALIKE * larger
