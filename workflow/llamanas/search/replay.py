"""Networks of a published run, to be measured again elsewhere.

What a search proposes after generation 0 follows from its scores, and on another kind of processor their last digits
differ. A reviewer gets the same networks by measuring those that were published.
"""

from pathlib import Path

from llamanas.artifacts import SCHEMAS, artifact_of, read_table
from llamanas.errors import LlamaNasError

TABLES = ("front", "archive")  # that hold measured networks


def published_rows(path: Path) -> list[dict]:
    """Rows of artifact ``published``: the networks of a table of another run, with what they had there.

    Raises:
        LlamaNasError: the table is missing, damaged, or holds no measured networks.
    """
    name = artifact_of(path)
    if name not in TABLES:
        raise LlamaNasError(
            f"search.replay names {path}, which holds artifact {name!r}; expected a table of measured networks: "
            f"{' or '.join(TABLES)}."
        )
    rows = read_table(path, name).to_pylist()
    if not rows:
        raise LlamaNasError(f"search.replay names {path}, which holds no network.")
    return [{column: row.get(column) for column in SCHEMAS["published"].names} for row in rows]
