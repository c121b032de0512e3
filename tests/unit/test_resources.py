"""Estimated needs: they follow the model and the configuration, and cover what jobs were seen to use."""

import json

import pytest

from llamanas import settings
from llamanas.architecture import ModelShape
from llamanas.resources import FILES, MEASURED, TRAININGS, Model, known_model, memory_mb, need, runtime_minutes

SMALL = Model.of_shape(ModelShape("llama", 30, 576, 1536, 9, 3, 64, 49152, True))  # SmolLM2-135M
LARGE = Model.of_shape(ModelShape("llama", 32, 4096, 11008, 32, 32, 128, 32000, False))  # Llama-2-7B
COMPUTING = [*TRAININGS, *MEASURED, *FILES, "rank_importance", "write_examples", "benchmark_accuracy"]


def config(**changes) -> dict:
    return settings.complete(changes)


def test_sizes_are_those_of_the_published_models():
    assert SMALL.parameters == 134_515_008 and LARGE.parameters == 6_738_415_616


@pytest.mark.parametrize("rule", COMPUTING)
def test_every_need_grows_with_the_model(rule):
    about = config(instructions={"self_examples": 4})
    small, large = need(rule, about, SMALL), need(rule, about, LARGE)
    assert large.memory > small.memory > 4 * SMALL.parameters / 1.01
    assert memory_mb(rule, about, LARGE, 0) > memory_mb(rule, about, SMALL, 0)


def test_memory_and_time_grow_with_the_attempt():
    about = config()
    for estimate in (memory_mb, runtime_minutes):
        first, second, third = (estimate("train_supernet", about, SMALL, 0, attempt) for attempt in (1, 2, 3))
        assert second == pytest.approx(1.5 * first, abs=1) and third == pytest.approx(2 * first, abs=1)


def test_training_all_weights_takes_gradients_and_moments():
    full, lora = (need("finetune", config(finetune={"method": method}), LARGE) for method in ("full", "lora"))
    assert full.memory - lora.memory > 0.9 * 12 * LARGE.parameters
    assert need("finetune", config(), LARGE) == lora, "a network of this size trains adapters unless asked otherwise"


def test_networks_are_written_in_float32_from_the_fine_tuning_on():
    about = config(model={"dtype": "bfloat16"})
    kept = {rule: need(rule, about, LARGE).kept / LARGE.parameters for rule in COMPUTING}
    assert kept["fetch_model"] == kept["extract_subnet"] == kept["export_gguf"] == 2
    wide = "finetune", "train_supernet", "build_supernet", "export_onnx"
    assert [kept[rule] for rule in wide] == [4] * 4 and kept["quantize"] == pytest.approx(1.2)
    assert need("evaluate_chunk", about, LARGE).files == 4 * LARGE.parameters


# MB of jobs on a CPU with 1.26e9 parameters stored in bfloat16 (docs/performance.md). Those of benchmark_speed are the
# sum of what the full network and the pick take, each in a process of its own.
SEEN = {
    "fetch_model": 2845, "finetune": 5288, "rank_importance": 7998, "train_supernet": 9627, "build_supernet": 8192,
    "evaluate_chunk": 5027, "measure_references": 6882, "extract_subnet": 4358, "export_onnx": 4867, "quantize": 4568,
    "export_gguf": 5044, "equalize": 8642, "benchmark_accuracy": 5009, "benchmark_speed": 7508,
}  # fmt: skip
MEDIUM = Model.of_shape(ModelShape("llama", 22, 2048, 5632, 32, 32, 64, 32000, False))


@pytest.mark.parametrize("rule", SEEN)
def test_memory_covers_what_was_seen(rule):
    about = config(model={"dtype": "bfloat16"}, finetune={"steps": 0}, supernet={"strategy": "alternate"})
    assert SEEN[rule] < memory_mb(rule, about, MEDIUM, 0) < 5 * SEEN[rule]


@pytest.mark.parametrize("rule", [*FILES, "benchmark_accuracy"])
def test_files_of_seven_thousand_million_parameters_fit_64_gb(rule):
    assert memory_mb(rule, config(model={"dtype": "bfloat16"}), LARGE, 1) * 2**20 < 64e9


def test_each_setting_changes_what_it_costs():
    base = need("evaluate_chunk", config(), SMALL)
    assert need("evaluate_chunk", config(search={"population": 16}), SMALL).operations == 2 * base.operations
    assert need("evaluate_chunk", config(search={"chunks": 4}), SMALL).operations == base.operations / 2
    assert need("evaluate_chunk", config(compute={"shared_gb": 6}), SMALL).memory - base.memory == 4 * 2**30
    halves = need("evaluate_chunk", config(compute={"dtype": "bfloat16"}), LARGE)
    assert need("evaluate_chunk", config(), LARGE).memory - halves.memory == 2 * LARGE.parameters
    steps = [need("train_supernet", config(supernet={"steps": n}), SMALL).operations for n in (10, 20)]
    assert steps[1] == 2 * steps[0]


def test_a_gpu_holds_the_activations_and_only_rules_that_use_it_pay_for_it():
    about = config(supernet={"batch_tokens": 32768, "method": "full"})
    assert memory_mb("train_supernet", about, LARGE, 1) < memory_mb("train_supernet", about, LARGE, 0)
    assert memory_mb("report", about, LARGE, 1) == memory_mb("report", about, LARGE, 0)


def test_processes_multiply_memory():
    one, four = (memory_mb("finetune", config(compute={"processes": n}), SMALL, 0) for n in (1, 4))
    assert four > 2 * one


def test_processes_that_divide_the_network_need_less_than_replicas():
    about = {"finetune": {"method": "full", "batch_tokens": 1024}}
    whole, divided = (
        memory_mb("finetune", config(compute={"processes": 4, "shard": shard}, **about), LARGE, 0)
        for shard in ("auto", True)
    )
    assert 1.3 * 4 * 4 * LARGE.parameters / 2**20 < divided < whole / 2
    alone = [memory_mb("finetune", config(compute={"shard": shard}, **about), LARGE, 0) for shard in ("auto", True)]
    assert alone[0] == alone[1]


def test_model_is_known_from_its_folder_or_once_it_is_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = {
        "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 11008,
        "num_attention_heads": 32, "vocab_size": 32000,
    }  # fmt: skip
    assert known_model(config()) is None
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text(json.dumps(sizes))
    assert known_model(config(model={"source": {"folder": "base"}})) == LARGE
    (tmp_path / "results/model").mkdir(parents=True)
    (tmp_path / "results/model/config.json").write_text(json.dumps(sizes | {"num_hidden_layers": 2}))
    assert known_model(config()).layers == 2
    (tmp_path / "results/model/config.json").write_text("{")
    assert known_model(config()) is None
