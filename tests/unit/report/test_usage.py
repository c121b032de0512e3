"""What jobs used against what they were estimated to need: from benchmark files, logs and sacct."""

import pytest

from llamanas import artifacts, settings
from llamanas.architecture import ModelShape
from llamanas.report.usage import usage_by_rule, usage_rows
from llamanas.resources import Model, memory_mb

MODEL = Model.of_shape(ModelShape("llama", 30, 576, 1536, 9, 3, 64, 49152, True))
HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


@pytest.fixture
def logs(tmp_path, monkeypatch):
    """Logs of four jobs, two of which ran on SLURM, and a sacct that knows one of these."""
    for name, seconds, memory, log in (
        (
            "finetune",
            "60.5",
            "2000.25",
            "rule finetune on node node1, SLURM job 7\ncomputing on cuda:0 with 2 threads\n"
            "took of its GPUs: 512 MB at most, 3600 J\n",
        ),
        (
            "evaluate_chunk/t/0/1-of-2",
            "30",
            "900",
            "rule evaluate_chunk (task=t, generation=0) on node node2, SLURM job 8\ncomputing on cpu\n",
        ),
        ("evaluate_chunk/t/0/2-of-2", "90", "950", "rule evaluate_chunk on node host\n"),
        ("report", "0.1", "NA", ""),
    ):
        path = tmp_path / "logs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".tsv").write_text(HEAD + f"{seconds}\t0:00:01\t{memory}\t1\t1\t1\t0\t0\t1\t1\n")
        path.with_suffix(".log").write_text(log)
    (tmp_path / "bin").mkdir()
    sacct = tmp_path / "bin/sacct"
    sacct.write_text('#!/bin/sh\n[ "$5" = 7,8 ] && printf "7|\\n7.batch|1G\\n7.0|3072000K\\n8|\\n"\n')
    sacct.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path / "logs"


def test_every_job_has_its_row(logs):
    config = settings.complete({})
    rows = usage_rows(logs, config, MODEL)
    artifacts.table_of("resources", rows)
    first, second, training, report = rows
    assert (training["rule"], training["node"], training["slurm_job"], training["gpu"]) == (
        "finetune",
        "node1",
        "7",
        True,
    )
    assert training["seconds"] == 60.5 and training["memory_mb"] == 2000.25 and training["slurm_memory_mb"] == 3000
    assert training["estimated_memory_mb"] == memory_mb("finetune", config, MODEL, 1)
    assert (first["job"], first["node"], first["slurm_memory_mb"]) == ("t/0/1-of-2", "node2", None)
    assert second["slurm_job"] is None and second["estimated_memory_mb"] == memory_mb(
        "evaluate_chunk", config, MODEL, 0
    )
    assert report["memory_mb"] is None and report["node"] is None
    assert (training["gpu_memory_mb"], training["gpu_energy_j"], first["gpu_energy_j"]) == (512, 3600, None)


def test_rules_are_summed_up_by_time(logs):
    evaluation, training, report = usage_by_rule(usage_rows(logs, settings.complete({}), MODEL))
    assert (evaluation["rule"], evaluation["jobs"], evaluation["seconds"]) == ("evaluate_chunk", 2, 120)
    assert evaluation["longest_minutes"] == 1.5 and evaluation["memory_mb"] == 950
    assert training["memory_mb"] == 3000 and report["memory_mb"] == 0
    assert (training["gpu_memory_mb"], training["gpu_energy_j"], evaluation["gpu_energy_j"]) == (512, 3600, 0)


def test_a_failing_sacct_leaves_memory_out(logs):
    (logs.parent / "bin/sacct").write_text("#!/bin/sh\nexit 1\n")
    assert all(row["slurm_memory_mb"] is None for row in usage_rows(logs, settings.complete({}), MODEL))
