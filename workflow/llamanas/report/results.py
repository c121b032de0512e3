"""Everything that a report is made of, read from the artifacts and not yet judged."""

from dataclasses import dataclass, field

from llamanas.architecture import ModelShape
from llamanas.report.costs import Stage


@dataclass(frozen=True)
class Results:
    """The tables of one experiment; a table is a list of rows as in :mod:`llamanas.artifacts`.

    ``archives``, ``fronts``, ``picks`` and ``questions`` are by task, in the order of the configuration.
    ``accuracy`` and ``speed`` have the rows of all exported files, ``healing`` those of the healed picks,
    ``transfer`` those of every task's picks on every task, ``baselines`` what else was trained, ``latency_checks``
    latencies summed and measured. ``manifests`` holds file lists with hashes, each under the words that say what it
    lists. ``packages`` are the versions that the tables were made with, ``settings`` the whole configuration with
    its defaults, ``space_size`` counts the sub-networks of the search space, ``rungs`` are the identifiers of the
    importance ladder's networks below the full one, and ``usage`` has what the jobs of each rule took, as
    :func:`llamanas.report.usage.usage_by_rule` gives it.
    """

    shape: ModelShape
    settings: dict
    archives: dict[str, list[dict]]
    fronts: dict[str, list[dict]]
    picks: dict[str, list[dict]]
    accuracy: list[dict]
    speed: list[dict]
    losses: list[dict]
    healing: list[dict]
    importance: list[dict]
    manifests: dict[str, list[dict]]
    packages: dict[str, str]
    space_size: int
    rungs: frozenset[str] = frozenset()
    baselines: list[dict] = field(default_factory=list)
    costs: list[Stage] = field(default_factory=list)
    busy_seconds: float = 0.0
    usage: list[dict] = field(default_factory=list)
    transfer: list[dict] = field(default_factory=list)
    questions: dict[str, list[dict]] = field(default_factory=dict)
    latency_checks: list[dict] = field(default_factory=list)
