"""Speed measurements: what they run, and that their rows fit the artifact."""

from collections import defaultdict

import numpy as np
import pytest

from llamanas.architecture import Architecture
from llamanas.artifacts import SCHEMAS, table_of
from llamanas.benchmark import speed
from llamanas.benchmark.memory import peak_memory
from llamanas.benchmark.session import Network
from llamanas.errors import LlamaNasError
from llamanas.export.onnx import write_onnx


@pytest.fixture(scope="module")
def networks(family_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    write_onnx(family_folder, Architecture((True, False, True, False), (96, 32, 0, 128)), folder / "pick")
    write_onnx(family_folder, Architecture((True,) * 4, (128,) * 4), folder / "full")
    return folder / "pick/model.onnx", folder / "full/model.onnx"


def test_rows_fit_the_artifact(networks):
    rows = speed.measure_speed(*networks, prompt_tokens=8, new_tokens=3, repeats=3, threads=1, seed=5)
    exported = {"task": "t", "pick": "p", "precision": "fp32", "architecture": "a"}
    assert table_of("speed", [row | exported for row in rows]).num_rows == 3
    assert [row["repeat"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert exported.keys() | row.keys() == set(SCHEMAS["speed"].names)
        assert row["prefill_tokens_per_s"] == pytest.approx(8 / row["time_to_first_token_s"])
        assert min(value for value in row.values() if isinstance(value, float)) > 0
        assert row["file_bytes"] == sum(file.stat().st_size for file in networks[0].parent.iterdir())
        assert row["peak_memory_bytes"] > row["file_bytes"]


def test_networks_take_turns_on_the_same_prompts(networks, monkeypatch):
    calls = []

    def record(network, prompt, new_tokens):
        calls.append((network, prompt.tobytes()))
        return speed.Timing(1.0, 1.0, 1.0)

    monkeypatch.setattr(speed, "time_once", record)
    speed.measure_speed(*networks, prompt_tokens=8, new_tokens=3, repeats=4, threads=1, seed=5)
    pick, full = calls[0][0], calls[1][0]
    assert [network for network, _ in calls] == [pick, full] * 2 + [full, pick] + [pick, full] + [full, pick]
    by_network = defaultdict(list)
    for network, prompt in calls:
        by_network[network].append(prompt)
    assert by_network[pick] == by_network[full] and len(set(by_network[pick])) == 5


def test_decoding_counts_the_tokens_it_times(networks, monkeypatch):
    network = Network(networks[0])
    shapes = []
    run = network.run

    def record(tokens, *rest, **keep):
        shapes.append(tokens.shape)
        return run(tokens, *rest, **keep)

    monkeypatch.setattr(network, "run", record)
    clock = iter((10.0, 12.0, 15.0))
    monkeypatch.setattr(speed, "perf_counter", lambda: next(clock))
    prompt = np.arange(8)[None]
    assert speed.time_once(network, prompt, 4) == speed.Timing(4.0, 1.0, 2.0)
    assert shapes == [(1, 8), (1, 1), (1, 1), (1, 1)]


def test_peak_memory_is_the_networks_own(networks):
    ballast = bytearray(400_000_000)  # touched, so that this process is larger than any that runs a tiny network
    assert peak_memory(networks[0], 8, 2, 1) < len(ballast)


def test_broken_network_is_named(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(LlamaNasError, match="model.onnx"):
        peak_memory(tmp_path / "model.onnx", 8, 2, 1)
