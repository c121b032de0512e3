"""Networks of another run, from its tables."""

import pytest

from llamanas.artifacts import SCHEMAS, table_of, write_table
from llamanas.errors import LlamaNasError
from llamanas.search.replay import published_rows


def written(path, artifact: str, rows: list[dict]):
    blank = dict.fromkeys(SCHEMAS[artifact].names)
    write_table(path, artifact, table_of(artifact, [blank | row for row in rows]), {})
    return path


@pytest.mark.parametrize(("artifact", "accuracy"), [("front", 0.5), ("archive", None)])
def test_a_front_or_all_that_was_measured_can_be_replayed(tmp_path, artifact, accuracy):
    row = {"architecture": "a", "kv_heads": [1, 2], "intermediate_sizes": [0, 8], "search_score": 0.25}
    rows = published_rows(written(tmp_path / "t.parquet", artifact, [row | {"report_accuracy": accuracy}]
                                  if artifact == "front" else [row]))  # fmt: skip
    assert [{k: v for k, v in r.items() if k in row} for r in rows] == [row]
    assert table_of("published", rows)["report_accuracy"].to_pylist() == [accuracy]


def test_what_holds_no_measured_networks_is_refused(tmp_path):
    with pytest.raises(LlamaNasError, match="holds artifact 'candidates'; expected a table of measured networks"):
        published_rows(written(tmp_path / "c.parquet", "candidates", [{"architecture": "a"}]))
    with pytest.raises(LlamaNasError, match="holds no network"):
        published_rows(written(tmp_path / "f.parquet", "front", []))
    with pytest.raises(LlamaNasError, match="none.parquet"):
        published_rows(tmp_path / "none.parquet")
