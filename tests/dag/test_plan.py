"""The plan of jobs: what a dry-run shows, what parsing costs, how bad configurations are refused."""

import subprocess
import sys

import pytest
import yaml

from llamanas.devices import visible_gpus
from workflow_runner import ROOT, planned_jobs, snakemake

DEFAULT = {
    "fetch_model": 1, "fetch_task": 3, "fetch_instructions": 1, "finetune": 1, "rank_importance": 2,
    "train_supernet": 1, "build_supernet": 1,
    "propose_candidates": 6, "evaluate_chunk": 12, "collect_generation": 6, "expect_scores": 3,
    "evaluate_front": 3, "select_front": 3,
    "extract_subnet": 3, "export_onnx": 4, "equalize": 4, "quantize": 4, "benchmark_accuracy": 12, "benchmark_speed": 8,
    "evaluate_transfer": 3, "measure_references": 1, "collect_usage": 1, "report": 1, "record_run": 1, "all": 1,
}  # fmt: skip


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_default_experiment_is_planned_whole(tmp_path, snakefile):
    run = snakemake(tmp_path, "-n", snakefile=snakefile)
    assert run.returncode == 0, run.stdout
    assert {name.removeprefix("llamanas_"): count for name, count in planned_jobs(run.stdout).items()} == DEFAULT


def test_own_examples_and_healing_are_planned_where_asked_for(tmp_path):
    (tmp_path / "healed.yaml").write_text(yaml.safe_dump({"instructions": {"self_examples": 4}, "heal": {"steps": 2}}))
    run = snakemake(tmp_path, "-n", "--configfile", "healed.yaml")
    plan = {name.removeprefix("llamanas_"): count for name, count in planned_jobs(run.stdout).items()}
    assert plan == DEFAULT | {"write_examples": 1, "heal": 3, "measure_healing": 3}, run.stdout


def test_recipes_are_planned_by_their_names(tmp_path):
    (tmp_path / "few.yaml").write_text(yaml.safe_dump({"export": {"precisions": ["fp32", "int4_mixed", "budget"]}}))
    plan = planned_jobs(snakemake(tmp_path, "-n", "--configfile", "few.yaml").stdout)
    changed = {"quantize": 8, "measure_bits": 4, "benchmark_accuracy": 18, "benchmark_speed": 12}
    assert plan == DEFAULT | changed


def test_float16_needs_no_measurement(tmp_path):
    (tmp_path / "half.yaml").write_text(yaml.safe_dump({"export": {"precisions": ["fp32", "fp16"]}}))
    plan = planned_jobs(snakemake(tmp_path, "-n", "--configfile", "half.yaml").stdout)
    assert plan == {name: count for name, count in DEFAULT.items() if name != "equalize"}


@pytest.mark.parametrize("search", [{"second_objective": "latency"}, {"limits": {"latency": [0, 90000]}}])
def test_latency_is_measured_once_where_asked_for(tmp_path, search):
    (tmp_path / "timed.yaml").write_text(yaml.safe_dump({"search": search}))
    run = snakemake(tmp_path, "-n", "--configfile", "timed.yaml")
    plan = {name.removeprefix("llamanas_"): count for name, count in planned_jobs(run.stdout).items()}
    assert plan == DEFAULT | {"measure_latency": 1}, run.stdout


@pytest.mark.skipif(visible_gpus() > 0, reason="there is a GPU")
def test_timing_on_a_gpu_is_refused_without_one_before_any_job(tmp_path):
    config = {"benchmark": {"runtimes": ["onnxruntime", "onnxruntime_tensorrt"]}}
    (tmp_path / "gpu.yaml").write_text(yaml.safe_dump(config))
    run = snakemake(tmp_path, "-n", "--configfile", "gpu.yaml")
    assert run.returncode != 0 and "Traceback" not in run.stdout
    assert "benchmark.runtimes has onnxruntime_tensorrt" in run.stdout and "onnxruntime-gpu" in run.stdout, run.stdout


def test_gguf_files_and_their_accuracy_are_planned_where_asked_for(tmp_path):
    (tmp_path / "gguf.yaml").write_text(yaml.safe_dump({"export": {"gguf": ["F16", "Q4_K_M"], "gguf_accuracy": True}}))
    run = snakemake(tmp_path, "-n", "--configfile", "gguf.yaml")
    plan = {name.removeprefix("llamanas_"): count for name, count in planned_jobs(run.stdout).items()}
    assert plan == DEFAULT | {"export_gguf": 8, "benchmark_gguf_accuracy": 12}, run.stdout


def test_further_folders_are_planned_where_asked_for(tmp_path):
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({"export": {"variants": ["padded", "deci"]}}))
    plan = planned_jobs(snakemake(tmp_path, "-n", "--configfile", "more.yaml").stdout)
    assert plan == DEFAULT | {"extract_variant": 6}


def test_baselines_are_planned_by_their_name_alone(tmp_path):
    (tmp_path / "few.yaml").write_text(yaml.safe_dump({"baselines": {"methods": ["random", "taylor"], "ratios": [2]}}))
    plan = planned_jobs(snakemake(tmp_path, "-n", "baselines", "--configfile", "few.yaml").stdout)
    assert plan["train_baseline"] == 2 and plan["measure_references"] == plan["baselines"] == 1
    assert not plan.keys() & {"propose_candidates", "heal", "report"}


def test_racing_plans_a_heat_for_every_chunk(tmp_path):
    config = tmp_path / "racing.yaml"
    config.write_text(yaml.safe_dump({"search": {"racing": True}, "tasks": ["mini_language"]}))
    plan = planned_jobs(snakemake(tmp_path, "-n", "--configfile", str(config)).stdout)
    assert (plan["evaluate_heat"], plan["race_candidates"], plan["evaluate_chunk"]) == (4, 2, 4)


def test_transfer_is_measured_where_there_are_several_tasks(tmp_path):
    config = tmp_path / "one.yaml"
    config.write_text(yaml.safe_dump({"tasks": ["mini_language"]}))
    assert planned_jobs(snakemake(tmp_path, "-n").stdout)["evaluate_transfer"] == 3
    assert "evaluate_transfer" not in planned_jobs(snakemake(tmp_path, "-n", "--configfile", str(config)).stdout)


MEASURED = """
import resource, subprocess, sys
run = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
print(run.stdout, "\\n\\nlargest", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_largest_search_is_planned_in_little_memory(tmp_path):
    tasks = ["mini_commonsense", "mini_language", "mini_truthful", "arc_easy"]
    config = {"search": {"generations": 100, "chunks": 16}, "tasks": tasks}
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-c", MEASURED, sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
    command += ["-n", "--quiet", "rules", "--workflow-profile", ROOT / "profiles/default", "--configfile", "large.yaml"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    plan = planned_jobs(run.stdout)
    assert plan["evaluate_chunk"] == 4 * 101 * 16 and plan["collect_generation"] == 4 * 101
    assert int(run.stdout.split()[-1]) < 2 * 2**20, "kilobytes"


def test_parsing_loads_no_heavy_library(tmp_path):
    run = snakemake(tmp_path, "-n", PYTHONPROFILEIMPORTTIME="1")
    imported = {line.split("|")[-1].strip() for line in run.stdout.splitlines() if line.startswith("import time:")}
    assert "llamanas.settings" in imported
    assert not imported & {"torch", "transformers", "datasets", "lm_eval", "onnxruntime", "pymoo", "sklearn"}


@pytest.mark.parametrize(
    ("config", "words"),
    [({"serach": {}}, "'serach'"), ({"search": {"population": 1}}, "search.population"), ([1], "keys at top level")],
)
def test_bad_configuration_stops_with_one_sentence(tmp_path, config, words):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(config))
    run = snakemake(tmp_path, "-n", "--configfile", "bad.yaml")
    assert run.returncode != 0
    assert words in run.stdout and "Traceback" not in run.stdout, run.stdout


def test_every_rule_has_script_log_benchmark_and_version(tmp_path):
    texts = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    for text in texts.split("\nrule ")[1:]:
        name, body = text.split(":", 1)
        assert (ROOT / f"workflow/scripts/{name}.py").exists(), name
        assert f'"../workflow/scripts/{name}.py"' in body, name
        for directive in ("log:", "benchmark:", "conda:", "version="):
            assert directive in body, (name, directive)
        assert len((ROOT / f"workflow/scripts/{name}.py").read_text().splitlines()) <= 25, name


def test_environments_are_pinned_as_the_lock():
    lock = {
        line.split("==")[0].lower().replace("_", "-"): line.split("==")[1].strip()
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line
    }
    for path in (ROOT / "envs").glob("*.yaml"):
        (packages,) = [d["pip"] for d in yaml.safe_load(path.read_text())["dependencies"] if isinstance(d, dict)]
        for package in packages:
            name, version = package.split("==")
            assert lock[name] == version, (path.name, package)


def test_settings_page_is_current():
    from llamanas import reference

    assert reference.page() == reference.PAGE.read_text(), "run: python -m llamanas.reference"


def test_a_replay_has_one_generation_and_its_networks_from_outside(tmp_path):
    search = {"algorithm": "replay", "replay": str(ROOT / "docs/default/epyc/{task}.parquet")}
    (tmp_path / "replay.yaml").write_text(yaml.safe_dump({"search": search}))
    run = snakemake(tmp_path, "-n", "--configfile", "replay.yaml")
    plan = {name.removeprefix("llamanas_"): count for name, count in planned_jobs(run.stdout).items()}
    assert {name: plan[name] for name in ("fetch_published", "propose_candidates", "evaluate_chunk")} == {
        "fetch_published": 3, "propose_candidates": 3, "evaluate_chunk": 6
    }, run.stdout  # fmt: skip
