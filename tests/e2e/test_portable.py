"""With `compute.portable` another kind of CPU, here an emulated one, computes what this one does, to the last bit."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from llamanas.devices import CPU_FILE, PORTABLE
from tiny_experiment import write_experiment
from workflow_runner import ROOT, snakemake

EMULATOR = shutil.which("qemu-x86_64")
NUMPY = PORTABLE["NPY_DISABLE_CPU_FEATURES"]
WIDER = CPU_FILE.exists() and " avx512f " in CPU_FILE.read_text()
OWN_KERNELS = pytest.mark.skipif(not WIDER, reason="this CPU may have Haswell's kernels")
FRONT = "results/search/tiny_sounds/front.parquet"


@pytest.mark.skipif(EMULATOR is None, reason="there is no emulator of CPUs (Debian's package qemu-user)")
@pytest.mark.parametrize("portable", [True, pytest.param(False, marks=OWN_KERNELS)])
def test_an_emulated_haswell_trains_searches_and_selects_alike(tmp_path, portable):
    here = tmp_path / "here"
    config = write_experiment(here)
    settings = yaml.safe_load(config.read_text())
    settings["compute"]["portable"] = portable
    config.write_text(yaml.safe_dump(settings))
    run = snakemake(here, FRONT, "--configfile", config.name, NPY_DISABLE_CPU_FEATURES=NUMPY)
    assert run.returncode == 0, run.stdout
    shutil.copytree(here / "results", tmp_path / "native/results")
    for made in ("results", "logs", ".snakemake"):
        shutil.rmtree(here / made)
    command = [EMULATOR, "-cpu", "Haswell", sys.executable, ROOT / "tests/rule_runner.py", here, config, FRONT]
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": "X86_V3"}  # as here; an emulated sort crashes besides
    subprocess.run(command, env=environment, check=True)
    compare = [sys.executable, "-m", "llamanas.compare", tmp_path / "native", here]
    compared = subprocess.run(compare, capture_output=True, text=True, cwd=ROOT)
    assert (compared.returncode == 0) is portable, compared.stdout
