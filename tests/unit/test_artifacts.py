"""Artifacts: checked schemas, provenance, whole files only."""

import errno
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llamanas.artifacts import SCHEMAS, provenance_of, read_table, table_of, whole_file, write_table
from llamanas.errors import LlamaNasError

ROWS = [{"stage": "finetune", "step": 1, "subnet": "full", "loss": 2.5, "tokens": 10}]


def test_round_trip_with_provenance(tmp_path):
    path = tmp_path / "losses.parquet"
    write_table(path, "losses", table_of("losses", ROWS), {"stage": "finetune", "seed": 1})
    assert read_table(path, "losses").to_pylist() == ROWS
    assert provenance_of(pq.read_table(path))["stage"] == "finetune"


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_artifact_may_be_empty(name, tmp_path):
    write_table(tmp_path / "t.parquet", name, table_of(name, []), {})
    assert read_table(tmp_path / "t.parquet", name).num_rows == 0


def test_equal_tables_give_equal_bytes(tmp_path):
    for name in "ab":
        write_table(tmp_path / name, "losses", table_of("losses", ROWS), {"seed": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("keep", [0, 4, 100, -10])
def test_truncated_file_is_named(tmp_path, keep):
    path = tmp_path / "losses.parquet"
    write_table(path, "losses", table_of("losses", ROWS), {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(LlamaNasError, match=r"losses\.parquet is not a readable Parquet file"):
        read_table(path, "losses")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(LlamaNasError, match="none.parquet is missing"):
        read_table(tmp_path / "none.parquet", "losses")


def test_another_artifact_is_refused(tmp_path):
    write_table(tmp_path / "t.parquet", "losses", table_of("losses", ROWS), {})
    with pytest.raises(LlamaNasError, match="holds artifact 'losses'.*expected 'archive'"):
        read_table(tmp_path / "t.parquet", "archive")


def test_foreign_parquet_is_refused(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    with pytest.raises(LlamaNasError, match="holds artifact None"):
        read_table(tmp_path / "t.parquet", "losses")


def test_changed_columns_are_refused(tmp_path):
    path = tmp_path / "t.parquet"
    stamp = {"llamanas": json.dumps({"artifact": "losses", "schema_version": 1})}  # of a version without checksums
    pq.write_table(table_of("losses", ROWS).replace_schema_metadata(stamp), path)
    assert read_table(path, "losses").to_pylist() == ROWS
    pq.write_table(table_of("losses", ROWS).drop_columns(["loss"]).replace_schema_metadata(stamp), path)
    with pytest.raises(LlamaNasError, match="has columns"):
        read_table(path, "losses")


@pytest.mark.parametrize("row", [{"step": 1}, ROWS[0] | {"step": "x"}])
def test_rows_that_do_not_fit_are_refused(row):
    with pytest.raises(LlamaNasError, match="losses"):
        table_of("losses", [row])


def test_failed_write_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("earlier")
    with pytest.raises(LlamaNasError, match="no space left.*x.json"), whole_file(path) as temporary:
        temporary.write_text(json.dumps("half"))
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "earlier" and list(tmp_path.iterdir()) == [path]
