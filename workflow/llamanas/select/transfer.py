"""Whether tasks want different architectures: the picks of every task's search, measured on one task."""

from llamanas.select.front import report_rows

DIFFERENCE = "difference", "difference_ci_low", "difference_ci_high"
COLUMNS = (
    "architecture", "parameters", "report_accuracy", "report_ci_low", "report_ci_high", "n_report", *DIFFERENCE,
    "within_noise",
)  # fmt: skip


def distinct(picks: dict[str, list[dict]]) -> list[dict]:
    """The rows of all tasks' picks, each architecture once; ``picks`` are by the task that was searched."""
    return list({row["architecture"]: row for rows in picks.values() for row in rows}.values())


def transfer_rows(
    task: str, picks: dict[str, list[dict]], answers: list[dict], full: str, settings: dict, seed: int
) -> list[dict]:
    """Rows of artifact ``transfer``: every searched task's picks, as they answer the report split of ``task``.

    ``own_difference`` is the paired difference from this task's own pick of the same name.

    Args:
        task: the task that was answered.
        picks: rows of artifact ``picks`` by the task that was searched.
        answers: rows of artifact ``answers`` of all of them and of the full network, on ``task``.
        full: identifier of the full network.
        settings: section ``select`` of the config.
        seed: root of the bootstrap's draws.

    Raises:
        LlamaNasError: an architecture was not answered on all items.
    """
    confidence, resamples = settings["confidence"], settings["bootstrap"]
    reported = report_rows(distinct(picks), answers, full, confidence, resamples, seed)
    by_architecture = {row["architecture"]: {name: row[name] for name in COLUMNS} for row in reported}
    own = {row["pick"]: row["architecture"] for row in picks[task]}
    found = []
    for searched, rows in picks.items():
        for row in rows:
            (against,) = report_rows([row], answers, own[row["pick"]], confidence, resamples, seed)
            found.append(
                {"searched": searched, "task": task, "pick": row["pick"]}
                | by_architecture[row["architecture"]]
                | {f"own_{name}": against[name] for name in DIFFERENCE}
            )
    return found
