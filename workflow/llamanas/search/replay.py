"""Networks of a published run, to be measured again elsewhere.

What a search proposes after generation 0 follows from its scores, and on another kind of processor their last digits
differ. A reviewer gets the same networks by measuring those that were published.
"""

import re
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

    A task without a table stops no other one.

    Raises:
        LlamaNasError: no task has a table of networks.
    """
    search = config["search"]
    if search["algorithm"] != "replay":
        return config
    tasks = [task for task in config["tasks"] if _path(search["replay"], task).is_file()] or config["tasks"][:1]
    most = max(len(_published(search["replay"], task)) for task in tasks)
    return config | {"search": search | {"population": 1 + most}}


def published_rows(replay: str, task: str, space: "SearchSpace", shape: ModelShape) -> list[dict]:
    """Rows of artifact ``published``: the networks of another run's table, with what they had there.

    Raises:
        LlamaNasError: the task has no table of networks, or not of this task, model and space.
    """
    import pyarrow.parquet as pq

    from llamanas.artifacts import SCHEMAS, provenance_of

    rows, path = _published(replay, task), _path(replay, task)
    made_of = " ".join(provenance_of(pq.read_table(path)).get("inputs", {}))
    if task not in (searched := set(re.findall("search/([^/]+)/", made_of))):
        raise LlamaNasError(
            f"search.replay names {path} for {task}, which is of {', '.join(searched) or 'an unknown task'}; put "
            "{task} where the task's name stands in the path, or ask for that task's results alone."
        )
    for row in rows:
        network = Architecture.from_row(row)
        costs = network.parameters(shape), network.macs_per_token(shape)
        if not space.contains(network) or costs != (row["parameters"], row["macs_per_token"]):
            raise LlamaNasError(
                f"{path} has network {row['architecture']} of {row['parameters']:,} parameters, which this run's "
                f"search space lacks, or which has {costs[0]:,} here; replay with the base model and the settings of "
                "`space` that the published run had."
            )
    return [{column: row.get(column) for column in SCHEMAS["published"].names} for row in rows]


def _path(replay: str, task: str) -> Path:
    return existing(replay.replace("{task}", task))


def _published(replay: str, task: str) -> list[dict]:
    from llamanas.artifacts import read_table
    from llamanas.select.front import on_all_items

    path = _path(replay, task)
    if not path.is_file():
        raise LlamaNasError(
            f"search.replay is {replay!r}, of which there is no file for task {task!r}, in {Path.cwd()} or in {ROOT}; "
            "give the path of another run's table, with {task} where the task's name stands."
        )
    for artifact in TABLES:
        with suppress(LlamaNasError):
            if rows := on_all_items(read_table(path, artifact).to_pylist()):
                return rows
    raise LlamaNasError(
        f"search.replay names {path}, from which no networks can be read; expected a whole table "
        f"{' or '.join(TABLES)} that this version of the workflow wrote."
    )
