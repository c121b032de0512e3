"""Leased devices: each job has its own, several where it asks for them, and they are free again afterwards."""

import json
import os
import platform
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import yaml

from llamanas import devices
from llamanas.devices import leased_devices
from llamanas.errors import LlamaNasError
from llamanas.job import job
from rule_runner import job_of, jobs_of


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Pretends that this machine has some number of GPUs, which no scheduler has divided."""
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize(("wanted", "visible"), [("cpu", 4), ("cpu", 0), ("auto", 0)])
def test_processes_without_gpus_share_the_cpu(gpus, wanted, visible):
    gpus(visible)
    with leased_devices(wanted, 2) as leased:
        assert leased == ["cpu", "cpu"]
    with leased_devices(wanted) as leased:
        assert leased == ["cpu"]


def test_jobs_hold_different_gpus_until_they_end(gpus):
    gpus(3)
    with leased_devices("auto", 2) as pair, leased_devices("cuda") as single:
        assert (pair, single) == (["cuda:0", "cuda:1"], ["cuda:2"])
    with leased_devices("auto", 3) as all_three:
        assert all_three == ["cuda:0", "cuda:1", "cuda:2"]


def test_gpus_are_leased_around_those_of_others(gpus):
    gpus(4)
    with ExitStack() as first:
        first.enter_context(leased_devices("auto"))
        with leased_devices("auto"):
            first.close()
            with leased_devices("auto", 3) as leased:
                assert leased == ["cuda:0", "cuda:2", "cuda:3"]


def test_a_job_waits_for_enough_gpus_and_holds_none_meanwhile(gpus, monkeypatch):
    gpus(3)
    waited = []
    with ExitStack() as others:
        others.enter_context(leased_devices("auto", 2))

        def wait(seconds: float) -> None:
            waited.append(seconds)
            with leased_devices("auto") as left:  # nobody else waits here
                assert left == ["cuda:2"]
            others.close()

        monkeypatch.setattr(devices.time, "sleep", wait)
        with leased_devices("auto", 2) as leased:
            assert leased == ["cuda:0", "cuda:1"]
    assert len(waited) == 1


def test_gpus_that_a_scheduler_has_given_need_no_lock(gpus, monkeypatch, tmp_path):
    gpus(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with leased_devices("cuda", 2) as leased:
        assert leased == ["cuda:0", "cuda:1"] and not list(Path(tmp_path).iterdir())
    with leased_devices("cuda") as leased:
        assert leased == ["cuda:0"] and len(list(Path(tmp_path).iterdir())) == 1


def test_jobs_that_see_different_gpus_do_not_wait_for_each_other(gpus, monkeypatch):
    gpus(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with ExitStack() as first:
        assert first.enter_context(leased_devices("cuda")) == ["cuda:0"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
        with leased_devices("cuda") as leased:
            assert leased == ["cuda:0"]  # number 1 of the machine
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
            monkeypatch.setattr(devices.time, "sleep", lambda seconds: first.close())
            with leased_devices("cuda") as last:
                assert last == ["cuda:1"]  # number 0, free once the first job ends


def test_too_few_gpus_are_named(gpus):
    gpus(2)
    with (
        pytest.raises(LlamaNasError, match=r"compute\.processes is 3, but PyTorch sees 2 GPUs"),
        leased_devices("auto", 3),
    ):
        pass
    gpus(0)
    with pytest.raises(LlamaNasError, match="compute.device is 'cuda' but PyTorch sees no GPU"), leased_devices("cuda"):
        pass


@pytest.mark.parametrize(("limit", "processes", "visible"), [(1, 0, 0), (1, 1, 1), (4, 4, 4), (2, 1, 4), (None, 2, 2)])
def test_limits_that_a_machine_can_keep(limit, processes, visible):
    devices.check_gpus(limit, processes, visible)


@pytest.mark.parametrize(
    ("limit", "processes", "visible", "words"),
    [
        (4, 1, 2, "resources: gpu is 4, but 2 GPUs are visible"),
        (2, 0, 0, "resources: gpu is 2, but 0 GPUs are visible"),
        (1, 4, 8, "compute.processes is 4, but resources: gpu lets local jobs use 1 GPUs"),
        (None, 3, 2, "compute.processes is 3, but resources: gpu lets local jobs use 2 GPUs"),
    ],
)
def test_limits_that_it_cannot_keep_are_refused_at_start(limit, processes, visible, words):
    with pytest.raises(LlamaNasError, match=words):
        devices.check_gpus(limit, processes, visible)


def test_runtimes_that_need_a_gpu_are_refused_without_one():
    devices.check_runtimes(["onnxruntime", "onnxruntime_cuda"], True)
    devices.check_runtimes(["onnxruntime", "pytorch"], False)
    with pytest.raises(LlamaNasError, match="has onnxruntime_cuda, but .*no GPU.*onnxruntime-gpu"):
        devices.check_runtimes(["onnxruntime", "onnxruntime_cuda"], False)


def test_hidden_gpus_are_not_visible(monkeypatch, tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(devices, "DEVICE_FILES", tmp_path)
    for named, count in {None: 3, "0,2": 2, "": 0, "1": 1, "GPU-a,GPU-b,GPU-c,GPU-d": 3}.items():
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if named is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert devices.visible_gpus() == count, named


JOB = """
import sys, time
from pathlib import Path
import torch
torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 2
from llamanas.devices import leased_devices
here, jobs, end = Path(sys.argv[1]), int(sys.argv[2]), time.monotonic() + 60
here.touch()
while len([*here.parent.glob("ready-*")]) < jobs and time.monotonic() < end:  # so that all ask at once
    time.sleep(0.01)
with leased_devices("auto") as leased:
    began = time.monotonic()
    time.sleep(0.5)
    print(leased[0], began, time.monotonic())
"""


def test_processes_never_share_a_gpu(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"} | {"TMPDIR": str(tmp_path)}
    environment["PYTHONPATH"] = str(Path(devices.__file__).parents[1])
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", JOB, str(tmp_path / f"ready-{number}"), "4"],
            env=environment, stdout=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    held = [job.communicate(timeout=120)[0].split() for job in jobs]
    assert all(job.returncode == 0 for job in jobs)
    for device in ("cuda:0", "cuda:1"):
        spans = sorted((float(began), float(ended)) for name, began, ended in held if name == device)
        assert spans and all(first[1] <= second[0] for first, second in zip(spans, spans[1:], strict=False))


KERNELS = """
import json, numpy, scipy.linalg, threadpoolctl, torch
from numpy._core._multiarray_umath import __cpu_features__ as features
blas = {each["architecture"] for each in threadpoolctl.threadpool_info() if each["internal_api"] == "openblas"}
print(json.dumps([torch.backends.cpu.get_cpu_capability(), sorted(blas), features["X86_V3"], features["X86_V4"]]))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels of other CPUs are not chosen")
def test_portable_kernels_are_those_of_avx2():
    environment = os.environ | devices.PORTABLE
    run = subprocess.run([sys.executable, "-c", KERNELS], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == ["AVX2", ["Haswell"], False, False]


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("rule", ["evaluate_chunk", *devices.TIMED])
def test_jobs_that_time_compute_as_fast_as_they_can(monkeypatch, tmp_path, capsys, rule, asked):
    monkeypatch.chdir(tmp_path)
    compute = {"portable": asked, "device": "cpu"}
    asked_for = job_of(rule, {"compute": compute}, output={"scores": "results/scores.parquet"})
    with patch.dict(os.environ, devices.PORTABLE), job(asked_for) as run, run.device():
        kept = [name in os.environ for name in devices.PORTABLE]
    portable = not (asked and rule in devices.TIMED)
    assert kept == [portable] * len(devices.PORTABLE)
    assert f"{devices.processor()}, {'portable' if portable else 'its own'} kernels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "gpus", "cpu", "chosen"),
    [
        ({"portable": True}, 0, "flags : avx avx2 fma\n", True),
        ({"portable": True}, 0, "flags : avx fma\n", False),
        ({"portable": True}, 1, "flags : avx avx2 fma\n", False),
        ({"portable": True, "device": "cpu"}, 1, "flags : avx avx2 fma\n", True),
        ({"portable": False}, 0, "flags : avx avx2 fma\n", False),
    ],
)
def test_jobs_without_a_gpu_inherit_portable_kernels(monkeypatch, tmp_path, config, gpus, cpu, chosen):
    (tmp_path / "dev").mkdir()
    for number in range(gpus):
        (tmp_path / f"dev/nvidia{number}").touch()
    (tmp_path / "cpuinfo").write_text(cpu)
    monkeypatch.setattr(devices, "DEVICE_FILES", tmp_path / "dev")
    monkeypatch.setattr(devices, "CPU_FILE", tmp_path / "cpuinfo")
    monkeypatch.setattr(devices.platform, "machine", lambda: "x86_64")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "portable.yaml").write_text(yaml.safe_dump({"compute": config}))
    own = dict.fromkeys(devices.PORTABLE, "mine")
    with patch.dict(os.environ, own):
        (fetched,) = jobs_of(tmp_path, tmp_path / "portable.yaml", "results/model/config.json")
        inherited = {name: os.environ.get(name) for name in devices.PORTABLE}
    assert inherited == (devices.PORTABLE if chosen else own)
    assert fetched.params["compute"].get("portable", False) is (
        config["portable"] and (gpus == 0 or "device" in config)
    )


@pytest.mark.parametrize(
    ("listing", "name"),
    [
        ("cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\nmodel\t\t: 7\n", "AMD EPYC (family 26, model 2)"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nCPU part\t: 0xd0c\n", "Neoverse"),
        (None, "Neoverse"),
    ],
    ids=["x86", "arm", "no Linux"],
)
def test_a_processor_is_named_with_family_and_model(monkeypatch, tmp_path, listing, name):
    monkeypatch.setattr(devices, "CPU_FILE", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "Neoverse")
    if listing:
        devices.CPU_FILE.write_text(listing)
    assert devices.processor() == name
