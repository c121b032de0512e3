"""Exported folders against the super-network: same logits, and what users do with a model works."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from conftest import ROPES, tiny_model
from llamanas.architecture import Architecture
from llamanas.errors import LlamaNasError
from llamanas.export.card import Run
from llamanas.export.huggingface import write_folder
from llamanas.export.weights import with_whole_attentions
from llamanas.models.decoder import load_decoder
from llamanas.models.families import SUPPORTED, read_config, shape_of
from llamanas.models.place import Sequence
from tiny_experiment import write_tokenizer

MIXED = Architecture((2, 0, 1, 0), (96, 32, 0, 128))
DIFFERING = [
    MIXED,
    Architecture((0, 0, 2, 2), (0, 64, 96, 32)),  # layer 0 dropped, the next without attention
    Architecture((2, 2, 2, 2), (64, 128, 128, 128)),  # only widths differ
    Architecture((2, 2, 2, 0), (128, 128, 128, 128)),  # only the last layer's attention is missing
    Architecture((0, 0, 2, 0), (128, 128, 128, 0)),
    Architecture((1, 2, 0, 1), (128, 64, 96, 0)),  # fewer heads
]
FEWER = Architecture((1,) * 4, (128,) * 4)  # layers alike, but not with all heads
ALIKE = [Architecture((0, 2, 0, 2), (0, 128, 0, 128)), Architecture((2,) * 4, (64,) * 4)]


@pytest.fixture(scope="module", autouse=True)
def own_code_cache(tmp_path_factory):
    """Keep the copies of modeling files that transformers makes out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        yield


def load(folder, **settings):
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, **settings).eval()


def tokens(batch: int, length: int) -> torch.Tensor:
    return torch.randint(1, 320, (batch, length), generator=torch.Generator().manual_seed(1))


def greedy(model, inputs: torch.Tensor, mask: torch.Tensor | None = None, **settings) -> torch.Tensor:
    mask = torch.ones_like(inputs) if mask is None else mask
    return model.generate(inputs, attention_mask=mask, max_new_tokens=12, do_sample=False, eos_token_id=-1, **settings)


@torch.no_grad()
def view_logits(folder, architecture, inputs) -> torch.Tensor:
    positions = torch.arange(inputs.shape[1]).expand(len(inputs), -1)
    return load_decoder(folder)(Sequence(inputs, positions), architecture)


def same_logits(source, architecture, folder) -> None:
    inputs = tokens(2, 20)  # longer than the tiny Mistral's window
    with torch.no_grad():
        found = load(folder)(inputs).logits
    torch.testing.assert_close(found, view_logits(source, architecture, inputs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", [*DIFFERING, FEWER, *ALIKE], ids=lambda a: a.id)
def test_logits_equal_the_super_network(family, family_folder, tmp_path, architecture):
    write_folder(family_folder, architecture, tmp_path, "apache-2.0")
    same_logits(family_folder, architecture, tmp_path)
    own = SUPPORTED[family] if architecture in ALIKE else f"Hetero{SUPPORTED[family]}"
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [f"{own}ForCausalLM"]


@pytest.mark.parametrize("variant", ["", "padded"])
def test_weights_have_the_type_of_the_base_model(family_folder, tmp_path, variant):
    """The super-network's are in float32, also where its configuration names what the base model was stored in."""
    source = shutil.copytree(family_folder, tmp_path / "supernet")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    write_folder(source, MIXED, tmp_path / "narrow", "mit", variant=variant)
    write_folder(family_folder, MIXED, tmp_path / "wide", "mit", variant=variant)
    narrow, wide = (load_file(tmp_path / name / "model.safetensors") for name in ("narrow", "wide"))
    assert narrow.keys() == wide.keys() and {each.dtype for each in wide.values()} == {torch.float32}
    assert all(torch.equal(narrow[name], wide[name].bfloat16()) for name in wide)


@pytest.mark.parametrize("rope", ROPES.values(), ids=ROPES)
def test_scaled_rotary_positions_are_kept(tmp_path, rope):
    tiny_model("llama", rope_parameters=rope).save_pretrained(tmp_path)
    write_folder(tmp_path, MIXED, tmp_path / "cut", "mit")
    same_logits(tmp_path, MIXED, tmp_path / "cut")
    config = json.loads((tmp_path / "cut/config.json").read_text())
    assert config["rope_scaling"] == config["rope_parameters"] == rope  # transformers 4 and 5 read one each
    assert config["rope_theta"] == rope["rope_theta"]


@pytest.mark.parametrize("architecture", [*DIFFERING, FEWER], ids=lambda a: a.id)
def test_padded_with_zeros_it_is_an_ordinary_model_with_the_same_logits(family, family_folder, tmp_path, architecture):
    write_folder(family_folder, architecture, tmp_path, "apache-2.0", variant="padded")
    own = getattr(transformers, f"{SUPPORTED[family]}ForCausalLM")
    model, report = own.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert not list(tmp_path.glob("*.py"))
    inputs = tokens(2, 20)
    with torch.no_grad():
        found = model.eval()(inputs).logits
    torch.testing.assert_close(found, view_logits(family_folder, architecture, inputs), atol=1e-5, rtol=0)
    text = (tmp_path / "README.md").read_text()
    assert "save nothing" in text and "trust_remote_code" not in text
    assert f"{model.num_parameters():,} parameters" in text


@pytest.mark.parametrize("architecture", DIFFERING, ids=lambda a: a.id)
def test_deci_variant_has_the_same_weights_and_tells_of_each_layer(family, family_folder, tmp_path, architecture):
    folder = tmp_path / "deci"
    if family == "qwen3":
        with pytest.raises(LlamaNasError, match="Qwen3"):
            write_folder(family_folder, architecture, folder, "mit", variant="deci")
        assert not folder.exists()
        return
    write_folder(family_folder, architecture, folder, "mit", variant="deci")
    blocks = AutoConfig.from_pretrained(folder, trust_remote_code=True).block_configs
    kept, first = architecture.kept_layers, architecture.kept_layers[0]
    assert [block.attention.no_op for block in blocks] == [not architecture.kv_heads[i] and i > first for i in kept]
    assert {block.attention.n_heads_in_group for block in blocks if not block.attention.no_op} == {2}
    widths = [0 if block.ffn.no_op else block.ffn.intermediate_size for block in blocks]
    assert widths == [architecture.intermediate_sizes[i] for i in kept]
    assert not any(hasattr(block.ffn, "ffn_mult") for block in blocks)  # vLLM would round it

    whole = with_whole_attentions(architecture, shape_of(read_config(family_folder / "config.json")))
    write_folder(family_folder, whole, tmp_path / "own", "mit")
    shutil.copy(folder / "model.safetensors", tmp_path / "own")
    same_logits(family_folder, architecture, tmp_path / "own")
    text = (folder / "README.md").read_text()
    assert "from vllm import LLM" in text and ("Zeros stand here" in text) == (whole != architecture)


@pytest.mark.parametrize("architecture", [ALIKE[0], FEWER], ids=lambda a: a.id)
def test_deci_variant_of_alike_layers_is_an_ordinary_model(family, family_folder, tmp_path, architecture):
    write_folder(family_folder, architecture, tmp_path, "apache-2.0", variant="deci")
    assert not list(tmp_path.glob("*.py")) and "AutoModelForCausalLM" in (tmp_path / "README.md").read_text()
    same_logits(family_folder, architecture, tmp_path)


def test_biases_of_llama_are_kept(tmp_path):
    tiny_model("llama", attention_bias=True, mlp_bias=True).save_pretrained(tmp_path)
    write_folder(tmp_path, MIXED, tmp_path / "cut", "mit")
    same_logits(tmp_path, MIXED, tmp_path / "cut")
    write_folder(tmp_path, MIXED, tmp_path / "padded", "mit", variant="padded")
    same_logits(tmp_path, MIXED, tmp_path / "padded")


def test_alike_layers_need_no_code(family, family_folder, tmp_path):
    write_folder(family_folder, ALIKE[0], tmp_path, "apache-2.0")
    assert not list(tmp_path.glob("*.py"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(model).__module__.startswith("transformers.")


@pytest.mark.parametrize("architecture", DIFFERING, ids=lambda a: a.id)
def test_generation_with_and_without_cache_agrees(family_folder, tmp_path, architecture):
    write_folder(family_folder, architecture, tmp_path, "apache-2.0")
    model, inputs = load(tmp_path), tokens(2, 6)
    plain = greedy(model, inputs, use_cache=False)
    assert torch.equal(greedy(model, inputs, use_cache=True), plain)
    assert torch.equal(greedy(model, inputs, cache_implementation="static", disable_compile=True), plain)


def test_left_padded_batch_equals_solo(family_folder, tmp_path):
    write_folder(family_folder, DIFFERING[1], tmp_path, "apache-2.0")
    model, inputs = load(tmp_path), tokens(2, 9)
    mask = torch.ones_like(inputs)
    inputs[0, :4], mask[0, :4] = 0, 0
    batch = greedy(model, inputs, mask)
    assert torch.equal(batch[0, 4:], greedy(model, inputs[:1, 4:])[0])
    assert torch.equal(batch[1], greedy(model, inputs[1:])[0])


def test_saved_again_it_is_the_same(family_folder, tmp_path):
    write_folder(family_folder, MIXED, tmp_path / "one", "apache-2.0")
    first, inputs = load(tmp_path / "one"), tokens(1, 8)
    first.save_pretrained(tmp_path / "two")
    assert torch.equal(load(tmp_path / "two")(inputs).logits, first(inputs).logits)


def test_attention_implementation_reaches_every_layer(family_folder, tmp_path):
    write_folder(family_folder, MIXED, tmp_path, "apache-2.0")
    inputs = tokens(2, 20)
    fused, plain = (load(tmp_path, attn_implementation=name)(inputs).logits for name in ("sdpa", "eager"))
    torch.testing.assert_close(fused, plain, atol=1e-5, rtol=0)


def test_base_model_loads_without_head(family_folder, tmp_path):
    write_folder(family_folder, MIXED, tmp_path, "apache-2.0")
    trunk, inputs = AutoModel.from_pretrained(tmp_path, trust_remote_code=True).eval(), tokens(1, 8)
    expected = load(tmp_path).model(inputs).last_hidden_state
    assert torch.equal(trunk(inputs).last_hidden_state, expected)


@pytest.mark.parametrize("architecture", DIFFERING, ids=lambda a: a.id)
def test_without_its_code_it_does_not_load(family, family_folder, tmp_path, architecture):
    write_folder(family_folder, architecture, tmp_path, "apache-2.0")
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoModelForCausalLM.from_pretrained(tmp_path, trust_remote_code=False)
    with pytest.raises(RuntimeError, match="per-layer"):
        getattr(transformers, f"{SUPPORTED[family]}ForCausalLM").from_pretrained(tmp_path)


def test_folder_is_complete(family_folder, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for file in family_folder.iterdir():
        (source / file.name).symlink_to(file)
    write_tokenizer(source)
    write_folder(source, MIXED, tmp_path / "cut", "apache-2.0")
    text = "Animal 3: the cat sounds"
    expected = PreTrainedTokenizerFast.from_pretrained(source)(text).input_ids
    assert AutoTokenizer.from_pretrained(tmp_path / "cut", trust_remote_code=True)(text).input_ids == expected
    card = (tmp_path / "cut/README.md").read_text()
    assert "license: apache-2.0" in card and "trust_remote_code=True" in card
    config = json.loads((tmp_path / "cut/config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]  # transformers 4 and 5 read one each
    assert not list((tmp_path / "cut").glob(".*"))


def test_missing_weights_are_named_and_leave_no_weights(family_folder, tmp_path):
    (tmp_path / "config.json").write_bytes((family_folder / "config.json").read_bytes())
    with pytest.raises(LlamaNasError, match="model.safetensors"):
        write_folder(tmp_path, MIXED, tmp_path / "cut", "apache-2.0")
    assert not (tmp_path / "cut/model.safetensors").exists()


PICKED = {
    "report_accuracy": 0.625, "report_ci_low": 0.5, "report_ci_high": 0.75, "n_report": 40,
    "full_report_accuracy": 0.65, "full_report_ci_low": 0.5, "full_report_ci_high": 0.8,
    "difference": -0.025, "difference_ci_low": -0.1, "difference_ci_high": 0.05,
}  # fmt: skip
HEALED = {
    "accuracy_after": 0.675, "after_ci_low": 0.5, "after_ci_high": 0.81, "n": 39,
    "full_difference": 0.031, "full_difference_ci_low": -0.1, "full_difference_ci_high": 0.1,
}  # fmt: skip
SETTINGS = {
    "source": {"hub": {"repo": "owner/base", "revision": "v1"}},
    "metric": "acc_norm", "confidence": 0.95, "tasks": ["one"],
    "instructions": {
        "files": ["secret/place/basic.jsonl"], "hub": ["owner/alpaca"], "task_train_splits": True, "tasks": ["two"],
        "self_examples": 7,
    },
    "steps": {"finetune": 11, "supernet": 22, "heal": 33},
}  # fmt: skip


def card(folder, source, **changes) -> str:
    run = Run("one", "fast", 5, {"torch": "1.2.3"}, SETTINGS, PICKED, {})._replace(**changes)
    write_folder(source, MIXED, folder, "apache-2.0", run)
    return (folder / "README.md").read_text()


def test_card_tells_of_the_run(family_folder, tmp_path):
    text = card(tmp_path, family_folder)
    assert text.startswith("---\nlicense: apache-2.0\nbase_model: owner/base\n")
    for words in [
        "On 40 items of `one`", "acc_norm", "95% confidence", "| this one | 62.50% | 50.00% | 75.00% |",
        "| full | 65.00%", "-2.50% | -10.00% | +5.00%",
        "`basic.jsonl`", "owner/alpaca", "train split of `one`", "train split of `two`",
        "7 texts", "Pick `fast`", "seed 5", "11 of the full", "22 of the full", "torch 1.2.3",
        "without further training", "revision `v1`",
    ]:  # fmt: skip
        assert words in text, words
    assert "secret" not in text


def test_card_of_a_healed_pick_tells_what_its_own_weights_reach(family_folder, tmp_path):
    text = card(tmp_path, family_folder, healed=HEALED)
    assert "On 39 items" in text and "| this one | 67.50%" in text and "+3.10%" in text and "62.50%" not in text
    assert "trained alone for 33 steps" in text and "without further training" not in text


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"folder": "/home/me/base"}, "`base`, a local copy"),
        ({"gguf": "/home/me/base.gguf"}, "`base.gguf`, a local copy"),
        ({"wheel": {"requirement": "p==1", "file": "p/m.gguf"}}, "`p/m.gguf` of the Python package `p==1`"),
    ],
)
def test_card_of_the_full_network_names_the_base_but_no_private_folder(family_folder, tmp_path, source, words):
    text = card(tmp_path, family_folder, picked={}, settings=SETTINGS | {"source": source})
    assert words in text and "base_model:" not in text and "/home" not in text
    assert "This is the full network" in text
