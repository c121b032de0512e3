"""The profile for SLURM, without a cluster: what it says, what is planned with it, and what reaches sbatch."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llamanas.resources import uses_gpu
from workflow_runner import ROOT, planned_jobs

PROFILE = ROOT / "profiles/slurm/config.yaml"
LLAMA_7B = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 11008,
    "num_attention_heads": 32, "vocab_size": 32000, "torch_dtype": "float16",
}  # fmt: skip


@pytest.fixture
def large(tmp_path) -> Path:
    """A directory with the configuration of a model of seven thousand million parameters, whose weights are missing."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text(json.dumps(LLAMA_7B))
    config = {
        "model": {"source": {"folder": "base"}, "dtype": "bfloat16"},
        "search": {"population": 50, "generations": 4, "chunks": 10},
        "space": {"intermediate_sizes": [4096, 8192]},
        "supernet": {"batch_tokens": 16384, "steps": 1000},
        "heal": {"steps": 100},
        "compute": {"dtype": "bfloat16", "processes": 2},
    }
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def snakemake(directory: Path, *arguments: str, **environment: str) -> str:
    """What Snakemake says with the profile."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", directory]
    command += ["--workflow-profile", PROFILE.parent, "--configfile", "large.yaml", *arguments]
    run = subprocess.run(
        command, cwd=directory, env=os.environ | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return run.stdout


def planned_resources(output: str) -> dict[str, dict[str, str]]:
    """Resources of the first planned job of each rule."""
    found: dict[str, dict[str, str]] = {}
    for name, line in re.findall(r"^(?:local)?rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", output, re.MULTILINE):
        found.setdefault(name, dict(part.split("=", 1) for part in line.split(", ")))
    return found


def test_large_model_is_planned_with_resources_of_its_size(large):
    output = snakemake(large, "-n", "all", "baselines")
    plan, resources = planned_jobs(output), planned_resources(output)
    assert plan["evaluate_chunk"] == 3 * 5 * 10 and plan["heal"] == 3, output[-3000:]
    for name, given in resources.items():
        if name.startswith("fetch_") or name in ("all", "baselines"):
            continue
        wanted = {"finetune": 2, "train_supernet": 2, "heal": 2, "train_baseline": 2}.get(name, 1)
        assert given.get("gpu", "0") == (str(wanted) if uses_gpu(name) else "0"), name
        assert given["nodes"] == "1" and int(given["runtime"]) >= 15
        assert int(given["mem_mb"]) >= (13_000 if uses_gpu(name) else 1500), (name, given)
    assert int(resources["export_onnx"]["mem_mb"]) > 4 * 6738 and int(resources["report"]["mem_mb"]) < 2000
    assert int(resources["train_supernet"]["mem_mb"]) > int(resources["evaluate_chunk"]["mem_mb"])


def test_cluster_without_gpus_computes_on_its_cpus(large):
    output = snakemake(large, "-n", "--default-resources", "cluster_gpus=0")
    given = planned_resources(output)
    assert given["evaluate_chunk"]["gpu"] == given["finetune"]["gpu"] == "0", output[-3000:]


def test_pytorch_is_timed_on_a_gpu_beside_the_fp32_file_alone(large):
    output = snakemake(large, "-n", "--config", 'benchmark={"runtimes": ["onnxruntime", "pytorch"]}')
    blocks = re.findall(r"rule benchmark_speed:\n(?:    .*\n)*", output)
    gpus = {(re.search(r"precision=(\w+)", b)[1], re.search(r" gpu=(\d)", b)[1]) for b in blocks}
    assert {precision for precision, _ in gpus} > {"fp32"}, output[-3000:]
    assert all((gpu == "1") == (precision == "fp32") for precision, gpu in gpus), gpus


def test_training_reaches_sbatch_with_its_gpus_memory_and_time(large, tmp_path):
    made = ["model/config.json", "model/manifest.parquet", "model/model.safetensors"]
    made += [f"tasks/mini_{name}/questions.parquet" for name in ("commonsense", "language", "truthful")]
    for number, name in enumerate([*made, "instructions/instructions.parquet"]):
        path = large / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(LLAMA_7B))
        os.utime(path, (10**9 + number, 10**9 + number))
    tools = {"sbatch": f'echo "$@" >> {tmp_path}/calls; exit 1', "sinfo": "echo gpus*", "squeue": ":", "scontrol": ":"}
    tools["sacct"] = ":"  # the accounts that there are
    for name, body in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    said = snakemake(
        large, "--set-resources", "finetune:slurm_partition=gpus", "finetune:gpu_model=a100",
        "--until", "finetune", "--retries", "0", "--slurm-init-seconds-before-status-checks", "1",
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    )  # fmt: skip
    assert (tmp_path / "calls").exists(), said
    call = (tmp_path / "calls").read_text().splitlines()[0]
    for words in ("--gpus=a100:2", "--nodes=1", "-p gpus", "--no-requeue", "--cpus-per-task=2"):
        assert words in call, call
    words = shlex.split(call)
    assert int(words[words.index("--mem") + 1]) > 2 * 4 * 6738 and int(words[words.index("-t") + 1]) >= 15


def test_every_gpu_rule_can_be_given_a_partition_and_what_the_profile_needs_is_there():
    text = PROFILE.read_text()
    profile = yaml.safe_load(text)
    rules = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    bodies = {part.split(":")[0]: part for part in rules.split("\nrule ")[1:]}
    on_gpu = {name for name, body in bodies.items() if re.search(r"gpu=(GPU|TRAINING_GPUS),", body)}
    assert on_gpu == {name for name in bodies if uses_gpu(name)}
    maybe = {
        name for name, body in bodies.items() if re.search(r"gpu=(GPU \* |timing_gpus)", body)
    }  # by the configuration
    assert {*re.findall(r"# +- (\w+):slurm_partition=", text)} == on_gpu | maybe
    uncommented = yaml.safe_load(re.sub(r"(?m)^# (set-resources:|  - )", r"\1", text))
    assert len(uncommented["set-resources"]) == len(on_gpu | maybe) + 2
    assert profile["executor"] == "slurm" and profile["slurm-status-command"] == "squeue" and profile["retries"] == 2
    assert not re.search(r"retries:", rules), "retries inside a rule run three times as often"
