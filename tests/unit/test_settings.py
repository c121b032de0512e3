"""The configuration: defaults, and one clear sentence for each mistake."""

import pytest
import yaml

from llamanas import settings
from llamanas.errors import LlamaNasError

REPLAY = {"algorithm": "replay", "replay": "{task}.parquet"}


def test_empty_configuration_takes_every_default():
    config = settings.complete({})
    assert config["finetune"]["lora"]["rank"] > 0
    assert config["tasks"] == ["mini_commonsense", "mini_language", "mini_truthful"]
    assert settings.complete(config) == config


def test_default_experiment_is_the_default_but_short_and_portable():
    default = yaml.safe_load((settings.ROOT / "config/config.yaml").read_text())
    trainings = [default.pop(stage) for stage in ("finetune", "supernet")]
    assert [training.keys() for training in trainings] == [{"steps", "method"}] * 2
    assert default.pop("compute") == {"portable": True}
    assert settings.complete(default) == settings.complete({})


def test_every_training_has_the_same_settings_but_for_its_own():
    config = settings.complete({})
    shared = config["finetune"].keys()
    own = {stage: config[stage].keys() - shared for stage in ("supernet", "heal", "baselines")}
    assert all(config[stage].keys() >= shared for stage in own)
    assert own["heal"] == {"answer_weight", "hidden_weight"} == own["baselines"] - {"methods", "ratios"}
    assert own["supernet"] > own["heal"] | {"strategy", "teacher", "sampling"}


def test_a_replay_has_no_further_generations():
    assert settings.complete({"search": REPLAY | {"generations": 3}})["search"]["generations"] == 0


def test_every_key_is_described():
    def undescribed(schema: dict, path: str) -> list[str]:
        found = []
        for key, part in schema.get("properties", {}).items():
            found += [] if "description" in part else [f"{path}.{key}"]
            found += undescribed(part, f"{path}.{key}")
        return found

    assert undescribed(yaml.safe_load(settings.SCHEMA.read_text()), "") == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"sead": 1}, "'sead'"),
        ({"search": {"populaton": 4}}, "search: .*'populaton'.*known keys are .*population"),
        ({"seed": "one"}, "seed .*'one' is not of type 'integer'"),
        ({"search": {"generations": 201}}, "search.generations.*201"),
        ({"model": {"source": {"folder": "a", "gguf": "b.gguf"}}}, "model.source"),
        ({"model": {"source": {"hub": {"repo": "no-owner"}}}}, "model.source.hub.repo"),
        ({"tasks": []}, "tasks"),
        ({"tasks": ["../x"]}, "tasks.0"),
        ({"space": {"intermediate_sizes": [100]}}, "space.intermediate_sizes.0.*multiple of 32"),
        ({"export": {"picks": ["nothing"]}}, "export.picks names .*nothing"),
        ({"export": {"precisions": ["int8"]}}, "export.precisions"),
        ({"export": {"precisions": ["fp32", "int3"]}}, "export.precisions names int3, .*int4_mixed"),
        ({"quantize": {"recipes": {"mine": {"bits": 4}}}}, "quantize.recipes.mine.*'method'"),
        (
            {"quantize": {"recipes": {"mine": {"method": "dynamic", "bits": 4}}}},
            "quantize.recipes.mine.*no setting bits",
        ),
        ({"quantize": {"recipes": {"mine": {"method": "weight_only", "bits": 3}}}}, "quantize.recipes.mine.bits.*3"),
        ({"quantize": {"recipes": {"mine": {"method": "budget", "bit": 3}}}}, "quantize.recipes.mine: .*'bit'"),
        (
            {"quantize": {"recipes": {"mine": {"method": "float16", "bits": 4}}}},
            "'float16' has no setting bits; it has none",
        ),
        ({"benchmark": {"runtimes": ["onnxruntime", "onnxruntime_rocm"]}}, "benchmark.runtimes.1.*'onnxruntime_rocm'"),
        ({"quantize": {"recipes": {"My-own": {"method": "dynamic"}}}}, "quantize.recipes.*My-own"),
        ({"select": {"picks": {"a": {"rule": "best"}}}}, "select.picks.a.rule"),
        ({"results": "../elsewhere"}, "results"),
        ({"results": "/absolute"}, "results"),
        ({"search": 3}, "search"),
        ({"search": {"algorithm": "replay"}}, "search.algorithm is 'replay' and search.replay is None"),
        ({"search": {"replay": "front.parquet"}}, "search.algorithm is 'linas' and search.replay is 'front.parquet'"),
        ({"search": REPLAY | {"racing": True}}, "leave out search.racing, which"),
        ({"search": REPLAY | {"limits": {"parameters": [0, 9]}}}, "leave out search.limits.parameters, which"),
        ({"finetune": {"strategy": "alternate"}}, "finetune: .*'strategy'"),
        ({"supernet": {"strategy": "once"}}, "supernet.strategy.*'once'"),
        ({"heal": {"method": "half"}}, "heal.method.*'half'"),
        ({"baselines": {"ratios": [1]}}, "baselines.ratios.0.*1"),
    ],
)
def test_a_mistake_is_named(config, words):
    with pytest.raises(LlamaNasError, match=words) as caught:
        settings.complete(config)
    assert "\n" not in str(caught.value)


def test_own_recipes_stand_beside_those_of_the_schema():
    recipes = settings.complete({"quantize": {"recipes": {"mine": {"method": "budget"}}}})["quantize"]["recipes"]
    assert recipes.keys() == {"int8", "int4_mixed", "dynamic_int8", "budget", "fp16", "mine"}
    assert recipes["mine"] == {"method": "budget", "bits_per_weight": 6.5, "equalize": True}
    assert recipes["int4_mixed"]["block_size"] == 32 and not recipes["int4_mixed"]["symmetric"]


def test_a_source_set_to_null_makes_way_for_another():
    source = {"hub": None, "folder": "/models/mine", "license": "mit"}
    assert settings.complete({"model": {"source": source}})["model"]["source"] == {
        "folder": "/models/mine",
        "license": "mit",
    }
    with pytest.raises(LlamaNasError, match="exactly one"):
        settings.complete({"model": {"source": {"folder": None}}})
