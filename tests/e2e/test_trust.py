"""What a reviewer relies on: every file of a run is accounted for, and what describes the run fits its files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llamanas.artifacts import read_table
from llamanas.errors import LlamaNasError
from llamanas.provenance import broken_links, sha256_of
from llamanas.settings import complete
from workflow_runner import ROOT, planned_jobs, snakemake

INVENTORY = Path("results/inventory.parquet")


def files_of(run: Path) -> list[Path]:
    """All files below the results, but for those that a resumed job keeps for itself."""
    paths = [path for path in (run / "results").rglob("*") if path.is_file()]
    return [path for path in paths if not any(part.startswith(".") for part in path.relative_to(run).parts)]


def flip(path: Path, at: int) -> None:
    """One bit of a file is another one, and its time as it was."""
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_the_inventory_lists_every_file(finished):
    rows = read_table(finished / INVENTORY, "inventory").to_pylist()
    listed = {finished / "results" / row["file"] for row in rows}
    assert listed == {*files_of(finished)} - {finished / INVENTORY}


def test_a_single_flipped_bit_in_any_artifact_is_found(finished):
    """First, middle and last byte of every file; the inventory's own bits are those that the others are held to."""
    assert next(broken_links(INVENTORY, finished), None) is None
    for path in files_of(finished):
        size = path.stat().st_size
        if path == finished / INVENTORY or not size:
            continue
        for at in {0, size // 2, size - 1}:
            flip(path, at)
            try:
                found = next(broken_links(INVENTORY, finished), "")
            except LlamaNasError as error:  # an input of the inventory that is no table any more
                found = str(error)
            flip(path, at)
            assert path.name in found, (path, at)
    assert next(broken_links(INVENTORY, finished), None) is None


def test_the_crate_describes_what_is_there(finished):
    folder = finished / "results/report"
    crate = json.loads((folder / "ro-crate-metadata.json").read_text())
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    parts = {part["@id"] for part in entities["./"]["hasPart"]}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert parts == there - {"ro-crate-metadata.json"}
    for name in parts:
        assert entities[name]["sha256"] == sha256_of(folder / name)
    run = entities["#run"]
    assert run["instrument"] == entities["./"]["mainEntity"] == {"@id": "Snakefile"}
    assert run["startTime"] < run["endTime"]

    def links(value):
        if isinstance(value, dict):
            return [value["@id"]] if value.keys() == {"@id"} else [link for v in value.values() for link in links(v)]
        return [link for v in value for link in links(v)] if isinstance(value, list) else []

    outside = {link for link in links(crate["@graph"]) if link not in entities}
    assert all(link.startswith("https://") for link in outside), outside


def test_the_configuration_beside_the_report_is_the_runs_own(finished):
    settings = json.loads((finished / "results/report/experiment.json").read_text())
    assert complete(settings) == settings
    stamp = json.loads(pq.read_metadata(finished / "results/report/summary.parquet").metadata[b"llamanas"])
    assert stamp["params"]["settings"] == settings
    plan = snakemake(finished, "-n", "--configfile", "results/report/experiment.json")
    assert "Nothing to be done" in plan.stdout, plan.stdout[-3000:]


def test_a_measurement_is_repeated_alone_by_the_reports_command(finished):
    target = "results/benchmark/tiny_sounds/half_way/budget/accuracy.parquet"
    plan = snakemake(finished, "-n", "--configfile", "results/report/experiment.json", "--force", target)
    assert planned_jobs(plan.stdout) == {"benchmark_accuracy": 1}, plan.stdout[-3000:]


@pytest.mark.parametrize("kind", ["accuracy", "speed"])
def test_an_exported_file_is_a_link_of_what_was_measured_on_it(finished, kind):
    about = json.loads(
        pq.read_metadata(finished / f"results/benchmark/tiny_sounds/half_way/budget/{kind}.parquet").metadata[
            b"llamanas"
        ]
    )
    assert "results/onnx/tiny_sounds/half_way/budget/manifest.parquet" in about["inputs"]


def test_snakemakes_own_report_builds(finished, tmp_path):
    pytest.importorskip("pygments", reason="needs the extra `report`")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(finished)]
    command += ["--configfile", "tiny.yaml", "--workflow-profile", str(ROOT / "profiles/default")]
    command += ["--report", str(tmp_path / "report.html")]
    run = subprocess.run(command, cwd=finished, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    page = (tmp_path / "report.html").read_text()
    for words in ("Fronts", "Architectures", "the whole report", "what the front keeps", "Up and left is better"):
        assert words in page, words
