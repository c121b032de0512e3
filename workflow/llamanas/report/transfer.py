"""Whether tasks want different networks, from every task's picks measured on every task."""

from math import comb


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
    moved = [row for row in rows if row["pick"] != "full" and row["searched"] != row["task"]]
    worse = sum(row["own_difference_ci_high"] < 0 for row in moved)
    better = sum(row["own_difference_ci_low"] > 0 for row in moved)
    start = (
        f"Of {len(moved)} picks taken to another task, {worse} are measurably less accurate there than that task's own "
        f"pick of the same name, {better} measurably more accurate, and {len(moved) - worse - better} cannot be told "
        "from it. "
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
    return start + "That speaks for different networks where the sizes, which are in the tables, are alike."
