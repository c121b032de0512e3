"""The front and the picks of a finished search, with their accuracy on the report split."""

from llamanas.select.front import EXPECTED, find_front, objectives, report_rows, to_report
from llamanas.select.picks import pick, pick_rows


def select(
    archive: list[dict], answers: list[dict], full: str, search: dict, settings: dict, seed: int
) -> tuple[list[dict], list[dict]]:
    """Rows of the artifacts ``front`` and ``picks``; what is chosen depends on the search split alone.

    Args:
        archive: all measured architectures, with what is expected of them.
        answers: rows of artifact ``answers`` of everything in :func:`to_report`.
        full: identifier of the full network.
        search: section ``search`` of the config.
        settings: section ``select`` of the config.
        seed: root of the bootstrap's draws.

    Raises:
        LlamaNasError: the full network was not measured, a rule lacks its number, or answers are missing.
    """
    costs = objectives(search)
    front = find_front(archive, EXPECTED, *costs)
    picks = pick(archive, find_front(archive, EXPECTED, costs[0]), full, settings["picks"], costs[0], EXPECTED)
    rows = to_report(archive, settings["picks"], *costs)
    reported = report_rows(rows, answers, full, settings["confidence"], settings["bootstrap"], seed)
    by_architecture = {row["architecture"]: row for row in reported}
    return [by_architecture[row["architecture"]] for row in front], pick_rows(picks, reported)
