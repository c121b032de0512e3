"""Networks of another run, from its tables."""

import os
from pathlib import Path

import pytest

from llamanas.artifacts import SCHEMAS, table_of, write_table
from llamanas.errors import LlamaNasError
from llamanas.search.replay import counted, published_rows
from llamanas.settings import complete
from synthetic_search import Problem

PROBLEM = Problem(4, 0)
MADE_OF = {"inputs": {"results/search/sounds/expected.parquet": "0", "results/model/config.json": "1"}}


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name: str, artifact: str, networks: list, **columns: object) -> None:
    blank = dict.fromkeys(SCHEMAS[artifact].names) | {"n_search": 10}
    rows = [blank | network.row(PROBLEM.shape, 4) | columns for network in networks]
    rows = [{column: row[column] for column in SCHEMAS[artifact].names} for row in rows]
    write_table(name, artifact, table_of(artifact, rows), MADE_OF)


def published(name: str = "{task}.parquet", problem: Problem = PROBLEM) -> list[dict]:
    return published_rows(name, "sounds", problem.space, problem.shape)


@pytest.mark.parametrize(("artifact", "columns"), [("front", {"report_accuracy": 0.5}), ("archive", {})])
def test_a_front_or_all_that_was_measured_can_be_replayed(artifact, columns):
    networks = [PROBLEM.space.smallest, PROBLEM.space.full]
    write("sounds.parquet", artifact, networks, search_score=0.25, **columns)
    rows = published()
    assert [row["architecture"] for row in rows] == [network.id for network in networks]
    assert {(row["search_score"], row["report_accuracy"]) for row in rows} == {(0.25, columns.get("report_accuracy"))}
    table_of("published", rows)


def test_what_racing_dropped_is_not_replayed():
    blank = dict.fromkeys(SCHEMAS["archive"].names)
    networks = (PROBLEM.space.smallest, 5), (PROBLEM.space.full, 10)
    rows = [blank | network.row(PROBLEM.shape, 4) | {"n_search": count} for network, count in networks]
    write_table("sounds.parquet", "archive", table_of("archive", rows), MADE_OF)
    assert [row["architecture"] for row in published()] == [PROBLEM.space.full.id]


def test_other_networks_are_refused():
    write("sounds.parquet", "front", [PROBLEM.space.smallest])
    other = Problem(4, 0, intermediate_sizes=[96])
    with pytest.raises(LlamaNasError, match="which this run's search space lacks"):
        published(problem=other)
    with pytest.raises(LlamaNasError, match="sounds.parquet for words, which is of sounds; put {task} where"):
        published_rows("sounds.parquet", "words", PROBLEM.space, PROBLEM.shape)
    write("sounds.parquet", "front", [PROBLEM.space.full], parameters=1)  # a model as deep and as wide, of other tokens
    with pytest.raises(LlamaNasError, match="of 1 parameters, .* or which has [0-9,]+ here"):
        published()


def test_what_holds_no_measured_networks_is_refused():
    with pytest.raises(LlamaNasError, match="is '{task}.parquet', of which there is no file for task 'sounds', in "):
        published()
    write("candidates.parquet", "candidates", [PROBLEM.space.full])
    write("empty.parquet", "front", [])
    Path("text.parquet").write_text("no table")
    for name in ("candidates", "empty", "text"):
        with pytest.raises(LlamaNasError, match=f"{name}.parquet, from which no networks can be read") as refused:
            published(f"{name}.parquet")
        assert "elete" not in str(refused.value)  # it is another's table


def test_the_population_is_what_is_replayed():
    write("a.parquet", "front", [PROBLEM.space.full])
    write("b.parquet", "archive", [PROBLEM.space.full, PROBLEM.space.smallest])
    assert counted(complete({})) == complete({})
    config = complete({"tasks": ["a", "b"], "search": {"algorithm": "replay", "replay": "{task}.parquet"}})
    assert counted(config)["search"] == config["search"] | {"population": 3}
    os.remove("b.parquet")  # which stops no other task
    assert counted(config)["search"]["population"] == 2
    os.remove("a.parquet")
    with pytest.raises(LlamaNasError, match="there is no file for task 'a'"):
        counted(config)
