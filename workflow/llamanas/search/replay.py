"""Networks of a published run, to be measured again elsewhere.

What a search proposes after generation 0 follows from its scores, and on another kind of processor their last digits
differ. A reviewer gets the same networks by measuring those that were published.
"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from llamanas.architecture import Architecture, ModelShape
from llamanas.errors import LlamaNasError
from llamanas.settings import ROOT, existing

if TYPE_CHECKING:  # Snakemake imports this module while it parses, for every job, and pyarrow takes a while
    from llamanas.supernet.space import SearchSpace

TABLES = ("front", "archive")  # that hold measured networks


def counted(config: dict) -> dict:
    """The complete configuration; where it replays another run, with that one's networks as the population.

    Raises:
        LlamaNasError: a task has no table of networks.
    """
    search = config["search"]
    if search["algorithm"] != "replay":
        return config
    most = max(len(_published(search["replay"], task)) for task in config["tasks"])
    return config | {"search": search | {"population": 1 + most}}


def published_rows(replay: str, task: str, space: "SearchSpace", shape: ModelShape) -> list[dict]:
    """Rows of artifact ``published``: the networks of another run's table, with what they had there.

    Raises:
        LlamaNasError: the task has no table of networks, or not of this model and space.
    """
    from llamanas.artifacts import SCHEMAS

    rows = _published(replay, task)
    for row in rows:
        network = Architecture.from_row(row)
        costs = network.parameters(shape), network.macs_per_token(shape)
        if not space.contains(network) or costs != (row["parameters"], row["macs_per_token"]):
            raise LlamaNasError(
                f"search.replay has network {row['architecture']} for {task}, which this run's search space lacks, or "
                "whose size is another here; replay with the base model and the settings of `space` that the published "
                "run had."
            )
    return [{column: row.get(column) for column in SCHEMAS["published"].names} for row in rows]


def _published(replay: str, task: str) -> list[dict]:
    from llamanas.artifacts import read_table
    from llamanas.select.front import on_all_items

    name = replay.replace("{task}", task)
    path = existing(name)
    if not path.is_file():
        raise LlamaNasError(f"search.replay names {name}; there is no such file in {Path.cwd()}, nor in {ROOT}.")
    for artifact in TABLES:
        with suppress(LlamaNasError):
            if rows := on_all_items(read_table(path, artifact).to_pylist()):
                return rows
    raise LlamaNasError(
        f"search.replay names {path}, from which no networks can be read; expected a whole table "
        f"{' or '.join(TABLES)} that this version of the workflow wrote."
    )
