"""The table of latencies: its sums are exact where times add up, and every runtime can be measured."""

import numpy as np
import pytest
import torch

from conftest import tiny_model
from llamanas.architecture import Architecture
from llamanas.artifacts import table_of
from llamanas.benchmark import latency
from llamanas.benchmark.engines import loader
from llamanas.models.families import read_config, shape_of
from llamanas.supernet.limits import Limits
from llamanas.supernet.space import search_space
from synthetic_search import SPACE

SETTINGS = {"batch": 1, "prompt_tokens": 4, "new_tokens": 3, "repeats": 2, "networks": 3}
TIMES = {("fixed", 0): 700, ("attention", 0): 0, ("attention", 1): 50, ("attention", 2): 90}
TIMES |= {("mlp", 0): 0, ("mlp", 32): 20, ("mlp", 64): 35, ("mlp", 128): 60}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("latency")
    tiny_model("llama").save_pretrained(path)
    return path


@pytest.fixture
def shape(folder):
    return shape_of(read_config(folder / "config.json"))


@pytest.fixture
def space(shape):
    return search_space(shape, SPACE | {"intermediate_sizes": [32, 64], "kv_heads": [1]})


def rows() -> list[dict]:
    return [{"part": part, "size": size, "microseconds": time} for (part, size), time in TIMES.items()]


def time_of(architecture: Architecture) -> int:
    return 700 + sum(TIMES["attention", heads] + TIMES["mlp", width] for heads, width in architecture.sizes)


def test_parts_are_found_from_whole_networks(space, shape):
    parts = latency.parts_of(space)
    networks = latency.probes(space, shape)
    found = latency.explain(networks, np.array([time_of(network) for network in networks]), parts)
    assert dict(zip(parts, np.round(found), strict=True)) == TIMES


def test_sums_are_those_of_the_table_and_limits_keep_them(space, shape):
    timed = space.timed(rows())
    draws = np.random.default_rng(1)
    drawn = [space.random(draws) for _ in range(20)]
    assert [timed.latency(network) for network in drawn] == [time_of(network) for network in drawn]
    low, high = 1000, 1150
    limits = Limits(timed, shape, {"latency": [low, high]}, 4)
    kept = set(limits.architectures())
    everything = set(Limits(timed, shape, {}, 4).architectures())
    assert kept == {network for network in everything if low <= time_of(network) <= high} and kept
    assert limits.count() == len(kept)
    genes = np.array([timed.encode(network) for network in sorted(everything)])
    within = (limits.violation(genes) <= 0).all(axis=1)
    assert {network for network, allowed in zip(sorted(everything), within, strict=True) if allowed} == kept


@pytest.mark.parametrize("runtime", ["onnxruntime", "pytorch"])
def test_every_runtime_is_measured(runtime, folder, space, shape, tmp_path, monkeypatch):
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    load = loader(folder, runtime, tmp_path, 1, "cpu", "float32")
    table, checks = latency.measure_latency(space, shape, load, SETTINGS, 1, 7, "cpu")
    assert threads == [1] and {row["threads"] for row in table} == {1}
    assert table_of("latency", table).num_rows == len(TIMES) and min(row["microseconds"] for row in table) >= 0
    timed = space.timed(table)
    assert table_of("latency_checks", checks).num_rows == SETTINGS["networks"]
    assert all(row["latency"] == timed.latency(Architecture.from_row(row)) for row in checks)


def test_the_error_is_a_median_of_relative_differences():
    checks = [{"latency": 110, "measured": 100}, {"latency": 50, "measured": 100}, {"latency": 100, "measured": 100}]
    assert latency.sum_error(checks) == pytest.approx(0.1)
