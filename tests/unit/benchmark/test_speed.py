"""Speed measurements: what they run, and that their rows fit the artifact."""

from collections import defaultdict

import numpy as np
import onnxruntime as ort
import pytest
import torch

from llamanas.architecture import Architecture
from llamanas.artifacts import SCHEMAS, table_of
from llamanas.benchmark import speed
from llamanas.benchmark.engines import onnx_rows, torch_rows
from llamanas.benchmark.memory import peak_memory
from llamanas.benchmark.session import Network, OnnxEngine, bytes_per_step
from llamanas.benchmark.torch_network import TorchNetwork
from llamanas.errors import LlamaNasError
from llamanas.export.onnx import write_onnx
from llamanas.export.weights import SubnetTensors, WeightFile
from llamanas.models.decoder import load_decoder
from llamanas.models.families import read_config, shape_of
from llamanas.models.place import Sequence
from llamanas.quantize.float16 import to_float16

PICK = Architecture((0, 2, 1, 0), (96, 32, 0, 128))
SETTINGS = {"batches": [1, 3], "contexts": [8], "new_tokens": 3, "repeats": 2, "runtimes": ["onnxruntime", "pytorch"]}
EXPORTED = {"task": "t", "pick": "p", "precision": "fp32", "architecture": "a"}


@pytest.fixture(scope="module")
def networks(family_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    write_onnx(family_folder, PICK, folder / "pick")
    write_onnx(family_folder, Architecture((2,) * 4, (128,) * 4), folder / "full")
    return folder / "pick/model.onnx", folder / "full/model.onnx"


class Recorder:
    """An engine that notes what it is asked for."""

    runtime, vocabulary_size, bytes_per_step, cache_bytes_per_token = "none", 320, 1000, 10

    def __init__(self) -> None:
        self.calls: list = []

    def prepare(self, *sizes: int) -> None:
        self.calls.append(sizes)

    def prefill(self, prompt: np.ndarray) -> None:
        self.calls.append(prompt.shape)

    def decode(self, steps: int) -> None:
        self.calls.append(steps)


@pytest.mark.parametrize("runtime", ["onnxruntime", "pytorch"])
def test_rows_fit_the_artifact(family_folder, networks, runtime):
    if runtime == "pytorch":
        rows = list(torch_rows((family_folder, PICK), family_folder, SETTINGS, 1, 5, "cpu", "float32"))
    else:
        rows = list(onnx_rows(*networks, SETTINGS, 1, 5))
    assert table_of("speed", [row | EXPORTED for row in rows]).num_rows == 4
    assert [(row["batch"], row["repeat"]) for row in rows] == [(1, 0), (1, 1), (3, 0), (3, 1)]
    for row in rows:
        assert EXPORTED.keys() | row.keys() == set(SCHEMAS["speed"].names)
        assert row["prefill_tokens_per_s"] == pytest.approx(8 * row["batch"] / row["time_to_first_token_s"])
        assert min(value for value in row.values() if isinstance(value, float)) > 0
        if runtime == "onnxruntime":
            assert row["file_bytes"] == sum(file.stat().st_size for file in networks[0].parent.iterdir())
            assert row["peak_memory_bytes"] > row["file_bytes"]


@pytest.mark.parametrize("provider", ["CUDA", "TensorRT"])
@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="ONNX Runtime has CUDA")
def test_missing_provider_names_the_package(networks, provider):
    with pytest.raises(LlamaNasError, match="no .*ExecutionProvider here.*onnxruntime-gpu in place of onnxruntime"):
        list(onnx_rows(*networks, SETTINGS, 1, 5, "cuda:0", provider))


def test_falling_back_to_the_cpu_is_an_error(networks, monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    with pytest.raises(LlamaNasError, match="onnxruntime-gpu"):
        Network(networks[0], 1, "CUDA")


@pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="ONNX Runtime has no CUDA")
def test_files_are_timed_on_a_gpu_and_the_cache_stays_there(networks, tmp_path):
    halves = [tmp_path / path.parent.name / "model.onnx" for path in networks]
    for source, target in zip(networks, halves, strict=True):
        to_float16(source, target)
    rows = list(onnx_rows(*halves, SETTINGS, 1, 5, "cuda:0", "CUDA"))
    assert table_of("speed", [row | EXPORTED for row in rows]).num_rows == 4
    assert {row["runtime"] for row in rows} == {f"onnxruntime {ort.__version__} CUDA"}
    assert {row["hardware"] for row in rows} == {torch.cuda.get_device_name(0)}
    assert {row["peak_memory_bytes"] for row in rows} == {None}
    tokens = np.random.default_rng(0).integers(320, size=(2, 12))
    exact, network = Network(networks[0]).run(tokens)[0], Network(halves[0], 1, "CUDA")
    _, cache = network.run(tokens[:, :8])
    assert "cpu" not in {value.device_name().lower() for value in cache.entries.values()}
    for place in range(8, 12):
        if place == 10:
            cache = cache.rows([0, 1])
        logits, cache = network.run(tokens[:, place : place + 1], cache)
        np.testing.assert_allclose(logits[:, 0], exact[:, place], atol=0.02 * np.abs(exact).max())


def test_networks_take_turns_on_the_same_prompts(monkeypatch):
    calls = []

    def record(engine, prompt, new_tokens):
        calls.append((engine, prompt.tobytes()))
        return speed.Timing(1.0, 1.0, 1.0)

    monkeypatch.setattr(speed, "time_once", record)
    pick, full = Recorder(), Recorder()
    list(speed.measure_speed(pick, full, [1], [8], new_tokens=3, repeats=4, seed=5, bandwidth=1.0))
    assert [engine for engine, _ in calls] == [pick, full] * 5  # always each after the other
    by_engine = defaultdict(list)
    for engine, prompt in calls:
        by_engine[engine].append(prompt)
    assert by_engine[pick] == by_engine[full] and len(set(by_engine[pick])) == 5


def test_rows_are_timed_with_the_threads_they_tell(monkeypatch):
    seen = []
    monkeypatch.setattr(speed, "memory_bandwidth", lambda _: seen.append(torch.get_num_threads()) or 1.0)
    monkeypatch.setattr(speed, "time_once", lambda *_: seen.append(torch.get_num_threads()) or speed.Timing(1, 1, 1))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        rows = list(speed.speed_rows(Recorder(), Recorder(), SETTINGS, 3, 5, "cpu"))
    finally:
        torch.set_num_threads(before)
    assert {row["threads"] for row in rows} == {*seen} == {3}


def test_timings_count_the_tokens_they_time(monkeypatch):
    engine, clock = Recorder(), iter((10.0, 12.0, 15.0))
    monkeypatch.setattr(speed, "perf_counter", lambda: next(clock))
    assert speed.time_once(engine, np.zeros((2, 8), int), 4) == speed.Timing(8.0, 2.0, 2.0)
    assert engine.calls == [(2, 8), 3]


def test_share_of_bandwidth_is_what_decoding_reads(monkeypatch):
    monkeypatch.setattr(speed, "time_once", lambda *_: speed.Timing(1.0, 6.0, 1.0))
    (row,) = speed.measure_speed(Recorder(), Recorder(), [3], [8], new_tokens=4, repeats=1, seed=5, bandwidth=2600.0)
    assert row["share_of_bandwidth"] == pytest.approx(2 * (1000 + 3 * 10 * 10) / 2600)


def test_bytes_of_a_step_leave_out_the_table_it_reads_a_row_of(family_folder, networks):
    shape = shape_of(read_config(family_folder / "config.json"))
    rotary, table = 2 * 256 * 8 * 4, shape.vocabulary_size * shape.hidden_size * 4
    unread = table * (not shape.tied_head) + rotary
    tensors = SubnetTensors(WeightFile(family_folder / "model.safetensors"), PICK, shape)
    network = TorchNetwork(read_config(family_folder / "config.json"), tensors, "cpu", "float32")
    assert network.bytes_per_step == 4 * PICK.parameters(shape) - unread + rotary
    assert bytes_per_step(networks[0]) == pytest.approx(network.bytes_per_step + rotary, rel=0.01)
    assert OnnxEngine(networks[0], 1).cache_bytes_per_token == network.cache_bytes_per_token == 2 * 3 * 16 * 4


def test_bytes_of_a_network_in_float16_are_half(networks, tmp_path):
    to_float16(networks[0], tmp_path / "model.onnx")
    half, exact = OnnxEngine(tmp_path / "model.onnx", 1), OnnxEngine(networks[0], 1)
    assert half.bytes_per_step == pytest.approx(exact.bytes_per_step / 2, rel=0.01)
    assert half.cache_bytes_per_token == exact.cache_bytes_per_token / 2


def test_pytorch_decodes_what_the_super_network_would(family_folder):
    config = read_config(family_folder / "config.json")
    tensors = SubnetTensors(WeightFile(family_folder / "model.safetensors"), PICK, shape_of(config))
    network, decoder = TorchNetwork(config, tensors, "cpu", "float32"), load_decoder(family_folder)
    prompt = np.random.default_rng(0).integers(320, size=(2, 20))  # longer than the tiny Mistral's window
    network.prepare(2, 20, 6)
    network.prefill(prompt)
    tokens = torch.from_numpy(prompt)
    for _ in range(6):
        places = torch.arange(tokens.shape[1]).expand(2, -1)
        torch.testing.assert_close(network.logits[:, 0], decoder(Sequence(tokens, places), PICK)[:, -1])
        tokens = torch.cat((tokens, network.memory.following), 1)
        network.decode(1)


def test_peak_memory_is_the_networks_own(networks):
    ballast = bytearray(400_000_000)  # touched, so that this process is larger than any that runs a tiny network
    assert peak_memory(networks[0], 1, 8, 2, 1) < len(ballast)


def test_broken_network_is_named(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(LlamaNasError, match="model.onnx"):
        peak_memory(tmp_path / "model.onnx", 1, 8, 2, 1)
