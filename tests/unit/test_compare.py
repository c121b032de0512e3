"""Comparing two runs."""

import pytest

from llamanas import compare
from llamanas.artifacts import SCHEMAS, table_of, write_table
from llamanas.compare import common_networks, differences, replayed_networks
from llamanas.errors import LlamaNasError


def losses(loss: float, count: int = 2) -> list[dict]:
    return [{"stage": "heal", "step": n, "subnet": "full", "loss": loss + n, "tokens": 7} for n in range(count)]


@pytest.fixture
def runs(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, "losses", losses(1.5))
    return tmp_path / "a", tmp_path / "b"


def write(run, name: str, rows: list[dict], artifact: str = "losses") -> None:
    write_table(run / f"results/{name}.parquet", artifact, table_of(artifact, rows), {"seed": str(run)})


def test_equal_tables_agree_whatever_they_were_made_from(runs):
    assert [*differences(*runs)] == []


def test_numbers_may_differ_by_the_tolerance(runs):
    write(runs[1], "losses", losses(1.5001))
    (line,) = differences(*runs)
    assert line == "results/losses.parquet: column 'loss' differs in 2 of 2 rows, first in row 0: 1.5 against 1.5001"
    assert [*differences(*runs, 0.001)] == []


def test_rows_and_tables_that_only_one_has_are_told(runs):
    write(runs[1], "losses", losses(1.5, 3))
    write(runs[0], "more", losses(1.5))
    assert [*differences(*runs)] == [
        "results/losses.parquet: 2 rows against 3",
        f"results/more.parquet: only in one run, not in {runs[1]}",
    ]


def test_a_part_of_a_run_is_compared_with_the_whole(runs):
    write(runs[1], "more", losses(1.5))
    assert [*differences(*runs, part=True)] == []
    assert [*differences(*reversed(runs), part=True)] == [f"results/more.parquet: only in one run, not in {runs[0]}"]


def test_networks_that_both_searches_measured_are_compared_where_runs_differ(runs, monkeypatch, capsys):
    def archive(run, generation: int, scores: dict[str, float]) -> None:
        row = dict.fromkeys(SCHEMAS["archive"].names)
        rows = [row | {"architecture": name, "search_score": score} for name, score in scores.items()]
        write(run, f"search/sounds/generation-{generation}/archive", rows, "archive")

    for run, last in zip(
        runs, ({"full": 0.75, "a": 0.5, "b": 0.25}, {"full": 0.7505, "c": 0.5, "b": 0.248}), strict=True
    ):
        archive(run, 9, {"full": 0.0})
        archive(run, 10, last)
    assert [*common_networks(*runs)] == [
        "sounds: 2 of 3 and 3 measured networks in both, search scores at most 0.0020 apart"
    ]
    assert [*common_networks(runs[0], runs[0].parent / "none")] == []
    monkeypatch.setattr("sys.argv", ["compare", *map(str, runs)])
    with pytest.raises(SystemExit) as stopped:
        compare.main()
    assert stopped.value.code == 1 and "sounds: 2 of 3 and 3" in capsys.readouterr().out.splitlines()[-1]


def test_a_directory_without_a_run_is_refused(runs, tmp_path, monkeypatch, capsys):
    with pytest.raises(LlamaNasError, match="has no tables"):
        [*differences(runs[0], tmp_path / "c")]
    monkeypatch.setattr("sys.argv", ["compare", *map(str, runs)])
    with pytest.raises(SystemExit) as stopped:
        compare.main()
    assert stopped.value.code == 0 and "1 tables are equal, 0 hold" in capsys.readouterr().out


def test_a_run_is_compared_with_what_it_replays(tmp_path, monkeypatch, capsys):
    def table(name: str, artifact: str, *rows: dict) -> None:
        blank = dict.fromkeys(SCHEMAS[artifact].names)
        write(tmp_path, f"search/sounds/{name}", [blank | row for row in rows], artifact)

    def measured(**scores: float) -> list[dict]:
        return [{"architecture": name, "search_score": score} for name, score in scores.items()]

    def compared(*options: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["compare", str(tmp_path), *options])
        with pytest.raises(SystemExit) as stopped:
            compare.main()
        return stopped.value.code, capsys.readouterr().out.strip()

    accuracies = {"full": 1.0, "a": 0.5, "b": None}
    rows = measured(full=0.75, a=0.5, b=0.25)
    table("published", "published", *(row | {"report_accuracy": accuracies[row["architecture"]]} for row in rows))
    table("generation-0/archive", "archive", *measured(full=0.751, a=0.5))
    table("generation-1/archive", "archive", *measured(full=0.75, a=0.5, b=0.25))  # of an earlier search in this folder
    line = "sounds does not agree within 0.1: 2 of 3 published networks measured, search scores at most 0.0010 apart"
    assert compared("--tolerance", "0.1") == (1, line)

    table("generation-0/archive", "archive", *measured(full=0.751, a=0.5, b=0.25, own=0.1))
    credits = {"full": (1, 0, 1, 1), "a": (1, 1, 0, 0), "own": (0, 0, 0, 0)}
    answers = [(name, str(item), credit) for name, each in credits.items() for item, credit in enumerate(each)]
    columns = "architecture", "item", "credit"
    table("answers", "answers", *(dict(zip(columns, answer, strict=True)) for answer in answers))
    line = (
        ": 3 of 3 published networks measured, search scores at most 0.0010 apart; "
        "accuracies of 2 on the report split at most 25.0 points apart"
    )
    assert compared("--tolerance", "0.002") == (0, "sounds agrees within 0.002" + line)
    assert compared() == (1, "sounds does not agree within 0" + line)


def test_a_run_that_replays_nothing_is_told(runs):
    with pytest.raises(LlamaNasError, match="no results of search.algorithm 'replay'"):
        [*replayed_networks(runs[0])]
