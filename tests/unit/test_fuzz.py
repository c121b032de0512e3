"""Whatever stands in a configuration or a file: a result or one clear error, and never another exception."""

import copy
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from llamanas import settings
from llamanas.artifacts import SCHEMAS, read_table, table_of, write_table
from llamanas.data.instructions import read_examples
from llamanas.errors import LlamaNasError

DEFAULT = settings.complete({})
# Equal draws in every run.
ALWAYS = {"deadline": None, "derandomize": True, "database": None}
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(LEAVES, inner, max_size=4))
# Words that the schema knows, in places where it does not expect them.
KNOWN = st.sampled_from(["auto", "full", "knee", "..", "a/b", "{instruction}", "{0}", "acc", "fp32", 0, 1, 8.0, -1])
BYTES = st.binary(max_size=400) | st.text(max_size=200).map(str.encode)
LOSSES = [{"stage": "finetune", "step": step, "subnet": "full", "loss": 2.5, "tokens": 10} for step in range(9)]


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Every place in a configuration."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


@effort(max_examples=200, **ALWAYS)
@given(st.lists(st.tuples(st.sampled_from(places(DEFAULT)[1:]), VALUES | KNOWN), min_size=1, max_size=3))
def test_any_configuration(changes):
    config = copy.deepcopy(DEFAULT)
    for path, value in changes:
        inner = config
        try:
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change has taken its place away
    complete(config)


@effort(max_examples=200, **ALWAYS)
@given(st.dictionaries(st.sampled_from([*DEFAULT]) | LEAVES, VALUES, max_size=4))
def test_any_mapping_as_a_configuration(config):
    complete(config)


def complete(config: dict) -> None:
    try:
        completed = settings.complete(config)
    except LlamaNasError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
    else:
        assert settings.complete(json.loads(json.dumps(completed, allow_nan=False))) == completed


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "losses.parquet"


@pytest.fixture(scope="module")
def content(path) -> bytes:
    write_table(path, "losses", table_of("losses", LOSSES), {"stage": "finetune", "seed": 1})
    return path.read_bytes()


def changed(content: bytes, changes: list[tuple[float, int]]) -> bytes:
    """The content with a byte changed at each of these shares of its length."""
    spoiled = bytearray(content)
    for share, value in changes:
        spoiled[int(share * (len(spoiled) - 1))] ^= value
    return bytes(spoiled)


CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=4)


@effort(max_examples=200, **ALWAYS)
@given(changes=CHANGES)
def test_any_change_of_an_artifact_is_refused(path, content, changes):
    spoiled = changed(content, changes)
    path.write_bytes(spoiled)
    try:
        assert read_table(path, "losses").to_pylist() == LOSSES
    except LlamaNasError as error:
        assert "losses.parquet" in str(error)


@effort(max_examples=200, **ALWAYS)
@given(changes=CHANGES)
def test_any_parquet_file_without_checksum_gives_a_table_or_an_error(path, changes):
    """As an older version wrote them, and as a user gives them."""
    stamp = {"artifact": "losses", "schema_version": 1}
    stream = io.BytesIO()
    pq.write_table(table_of("losses", LOSSES).replace_schema_metadata({"llamanas": json.dumps(stamp)}), stream)
    path.write_bytes(changed(stream.getvalue(), changes))
    for read in (lambda: read_table(path, "losses"), lambda: read_examples(path)):
        try:
            read()
        except LlamaNasError as error:
            assert "losses.parquet" in str(error)


@effort(max_examples=200, **ALWAYS)
@given(
    content=st.binary(max_size=400) | st.text(max_size=200).map(str.encode),
    suffix=st.sampled_from(["parquet", "jsonl"]),
)
def test_any_bytes_as_a_table_or_as_examples(path, content, suffix):
    path = path.with_suffix(f".{suffix}")
    path.write_bytes(content)
    for read in (lambda: read_table(path, "losses"), lambda: read_examples(path)):
        try:
            read()
        except LlamaNasError as error:
            assert path.name in str(error)


@effort(max_examples=100, **ALWAYS)
@given(rows=st.lists(st.dictionaries(st.sampled_from(["instruction", "input", "output", "other"]), VALUES, max_size=4)))
def test_any_json_lines_as_examples(path, rows):
    path = path.with_suffix(".jsonl")
    path.write_text("\n".join(json.dumps(row, default=str, skipkeys=True) for row in rows))
    try:
        assert all(isinstance(example["output"], str) for example in read_examples(path))
    except LlamaNasError as error:
        assert path.name in str(error)


@effort(max_examples=100, **ALWAYS)
@given(
    name=st.sampled_from([*SCHEMAS]),
    rows=st.lists(st.dictionaries(st.text(max_size=8), VALUES, max_size=4), max_size=3),
)
def test_any_rows_as_an_artifact(name, rows):
    filled = [dict.fromkeys(SCHEMAS[name].names) | row for row in rows]
    for row, given_row in zip(filled, rows, strict=True):
        row |= dict(zip(SCHEMAS[name].names, given_row.values(), strict=False))
    try:
        assert table_of(name, filled).schema == SCHEMAS[name]
    except LlamaNasError as error:
        assert name in str(error)


def test_every_flipped_bit_of_a_table_is_found(path, content):
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        with pytest.raises(LlamaNasError, match="losses.parquet"):
            read_table(path, "losses")


def test_a_foreign_table_is_refused(path):
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"llamanas": "[1]"}), path)
    with pytest.raises(LlamaNasError, match="holds artifact None"):
        read_table(path, "losses")
