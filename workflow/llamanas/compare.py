"""Whether two runs agree: `python -m llamanas.compare RUN RUN [--tolerance X] [--part]`.

With one run, whether it agrees with what it replays (`search.algorithm: replay`).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pyarrow as pa
import pyarrow.parquet as pq

from llamanas.artifacts import provenance_of, read_content
from llamanas.errors import LlamaNasError
from llamanas.select.front import credits_of

# Artifacts with measured times, or hashes of them, which never repeat.
TIMED = ("speed", "summary", "resources", "inventory", "latency", "latency_checks")


def differences(one: Path, other: Path, tolerance: float = 0.0, part: bool = False) -> Iterator[str]:
    """A line for every table below ``results`` that is not the same in both runs; tables with times are left out.

    Numbers may differ by ``tolerance``. Weights are compared through the hashes in the tables that list them. With
    ``part`` the other run may have more tables.

    Raises:
        LlamaNasError: a run has no results, or a table cannot be read.
    """
    tables = []
    for run in (one, other):
        found = {path.relative_to(run): path for path in sorted((run / "results").rglob("*.parquet"))}
        if not found:
            raise LlamaNasError(f"{run} has no tables in {run / 'results'}; give the directory of a run.")
        tables.append(found)
    for name in sorted(tables[0].keys() | (() if part else tables[1].keys())):
        missing = [str(run) for run, found in zip((one, other), tables, strict=True) if name not in found]
        if missing:
            yield f"{name}: only in one run, not in {missing[0]}"
            continue
        first, second = (_read(found[name]) for found in tables)
        if provenance_of(first).get("artifact") not in TIMED and (difference := _differ(first, second, tolerance)):
            yield f"{name}: {difference}"


def common_networks(one: Path, other: Path) -> Iterator[str]:
    """A line for every task that both runs searched: the networks that both measured, and how far their scores differ.

    On another kind of machine trainings differ in the last digits, upon which a short search proposes other networks;
    those that both met should have like scores all the same.

    Raises:
        LlamaNasError: a table cannot be read.
    """
    for task in sorted(path.name for path in (one / "results/search").glob("*/")):
        measured = [_scores(_last(run / "results/search" / task)) for run in (one, other)]
        if not all(measured):
            continue
        count, apart = _apart(*measured)
        counts = " and ".join(str(len(scores)) for scores in measured)
        yield f"{task}: {count} of {counts} measured networks in both, {_told(apart)}"


def replayed_networks(run: Path, tolerance: float = 0.0) -> Iterator[tuple[str, bool]]:
    """A line for every task of a run that replays another one, and whether all published networks are as they were.

    They are if all were measured, with search scores at most ``tolerance`` apart. How far apart accuracies on the
    report split are is told and not judged: on another kind of machine a question or two may be answered otherwise.

    Raises:
        LlamaNasError: the run replays nothing, or a table cannot be read.
    """
    tables = sorted((run / "results/search").glob("*/published.parquet"))
    if not tables:
        raise LlamaNasError(
            f"{run / 'results/search'} has no results of search.algorithm 'replay'; give the directory of a run that "
            "has got so far, or two runs to compare with each other."
        )
    for table in tables:
        published = {row["architecture"]: row for row in _read(table).to_pylist()}
        scores = {name: row["search_score"] for name, row in published.items()}
        count, apart = _apart(scores, _scores(table.parent / "generation-0/archive.parquet"))
        agrees = count == len(published) and apart <= tolerance
        line = f"{table.parent.name} {'agrees' if agrees else 'does not agree'} within {tolerance:g}: "
        line += f"{count} of {len(published)} published networks measured, {_told(apart)}"
        there = {name: row["report_accuracy"] for name, row in published.items() if row["report_accuracy"] is not None}
        answers = table.parent / "answers.parquet"
        credits = credits_of(_read(answers).to_pylist()) if answers.exists() else {}
        here = {name: fmean(credit.values()) for name, credit in credits.items()}
        count_reported, far = _apart(there, here)
        if count_reported:
            line += f"; accuracies of {count_reported} on the report split at most {100 * far:.1f} points apart"
        yield line, agrees


def _apart(one: dict[str, float], other: dict[str, float]) -> tuple[int, float]:
    """How many networks both know, and the largest difference of their values."""
    both = one.keys() & other.keys()
    return len(both), max((abs(one[name] - other[name]) for name in both), default=0.0)


def _told(apart: float) -> str:
    return f"search scores at most {apart:.4f} apart"


def _last(folder: Path) -> Path | None:
    """The archive of the last generation in the folder of a task's search, if there is one."""
    found = sorted(folder.glob("generation-*/archive.parquet"), key=lambda path: int(path.parent.name.split("-")[1]))
    return found[-1] if found else None


def _scores(archive: Path | None) -> dict[str, float]:
    """Search scores of an archive by architecture; none where there is no such table."""
    rows = _read(archive).select(["architecture", "search_score"]).to_pylist() if archive and archive.exists() else []
    return {row["architecture"]: row["search_score"] for row in rows}


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(pa.BufferReader(read_content(path)))
    except (OSError, pa.ArrowException) as error:
        raise LlamaNasError(f"{path} is not a readable Parquet file: {error}") from error


def _differ(first: pa.Table, second: pa.Table, tolerance: float) -> str:
    """What differs, in words; nothing if all is equal within the tolerance."""
    if first.column_names != second.column_names:
        return f"columns {first.column_names} against {second.column_names}"
    if first.num_rows != second.num_rows:
        return f"{first.num_rows} rows against {second.num_rows}"
    for name in first.column_names:
        pairs = [*enumerate(zip(first[name].to_pylist(), second[name].to_pylist(), strict=True))]
        if wrong := [(row, a, b) for row, (a, b) in pairs if not _equal(a, b, tolerance)]:
            row, a, b = wrong[0]
            return f"column {name!r} differs in {len(wrong)} of {len(pairs)} rows, first in row {row}: {a} against {b}"
    return ""


def _equal(a: object, b: object, tolerance: float) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(lambda x, y: _equal(x, y, tolerance), a, b))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or abs(a - b) <= tolerance or (a != a and b != b)
    return a == b


def main() -> None:
    """Print what differs; the exit status is 1 if anything does."""
    parser = argparse.ArgumentParser(
        prog="python -m llamanas.compare", description="Whether two runs agree, or a run with the one that it replays."
    )
    parser.add_argument("run", type=Path, help="directory of a run")
    parser.add_argument("other", nargs="?", type=Path, help="of another; without it, what the run replays")
    parser.add_argument("--tolerance", type=float, default=0.0, help="by how much numbers may differ")
    parser.add_argument("--part", action="store_true", help="the first has a part of the tables, which are compared")
    options = parser.parse_args()
    try:
        one, other = options.run, options.other
        if other is None:
            lines = [*replayed_networks(one, options.tolerance)]
            print("\n".join(line for line, _ in lines))
            raise SystemExit(not all(agrees for _, agrees in lines))
        found = [*differences(one, other, options.tolerance, options.part)]
        found += common_networks(one, other) if found else ()
    except LlamaNasError as error:
        raise SystemExit(f"error: {error}") from None
    tables = [path.stem for path in (one / "results").rglob("*.parquet")]
    left_out = sum(name in TIMED for name in tables)
    same = f"the runs agree: {len(tables) - left_out} tables are equal, {left_out} hold times and were not compared"
    print("\n".join(found) or same)
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
