"""GGUF files in llama.cpp itself against the super-network's views."""

import json

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, normalizers
from tokenizers.pre_tokenizers import Metaspace
from transformers import PreTrainedTokenizerFast

from checkpoints import TEXTS, sentencepiece_tokenizer, tiny_tokenizer
from conftest import ROPES, tiny_model
from llamanas.architecture import Architecture
from llamanas.errors import LlamaNasError
from llamanas.export.gguf import write_gguf
from llamanas.models.decoder import load_decoder
from llamanas.models.place import Sequence
from tiny_experiment import write_tokenizer

pytest.importorskip("cyllama", reason="needs llama.cpp: pip install -c requirements.lock -e '.[gguf]'")

from llamanas.llamacpp import GgufNetwork  # noqa: E402

FULL = Architecture((2,) * 4, (128,) * 4)
ALIKE = [FULL, Architecture((0, 2, 0, 2), (0, 64, 0, 64))]
DIFFERING = [
    Architecture((2, 0, 1, 0), (96, 32, 0, 128)),  # an MLP is missing, and the last attention
    Architecture((0, 0, 2, 2), (0, 64, 96, 32)),  # layer 0 dropped, the next without attention
    Architecture((2, 2, 2, 2), (64, 128, 40, 128)),  # only widths differ, one fits no block
    Architecture((0, 2, 0, 0), (64, 0, 128, 128)),
    Architecture((2, 2, 2, 2), (0, 128, 128, 0)),  # the first and the last MLP are missing
    Architecture((0,) * 4, (128, 0, 64, 0)),  # no attention at all
    Architecture((1, 2, 0, 1), (128, 64, 96, 0)),  # fewer heads
    Architecture((1, 1, 1, 1), (128, 128, 128, 128)),  # in all layers alike
]
PROMPT = np.random.default_rng(0).integers(320, size=200).tolist()


def make_folder(path, family: str, **changes):
    """A folder with a tiny model and its tokenizer; Mistral without the window that llama.cpp does not have."""
    window = {"sliding_window": None} if family == "mistral" else {}
    tiny_model(family, **(window | changes)).save_pretrained(path)
    write_tokenizer(path, family)
    return path


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp(family), family)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("llama"), "llama")


@torch.no_grad()
def expected(folder, architecture, tokens: list[int]) -> np.ndarray:
    ids = torch.tensor([tokens])
    return load_decoder(folder)(Sequence(ids, torch.arange(len(tokens))[None]), architecture)[0].numpy()


def exported(folder, architecture, path, kind: str = "F32") -> GgufNetwork:
    write_gguf(folder, architecture, path, kind)
    return GgufNetwork(path, places=256, exact=True)


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert np.array_equal(found.argmax(-1), wanted.argmax(-1))


def architecture_of(path) -> str:
    return gguf.GGUFReader(path).fields["general.architecture"].contents()


@pytest.mark.parametrize("architecture", ALIKE + DIFFERING, ids=lambda a: a.id)
def test_logits_equal_the_super_network(family, folder, tmp_path, architecture):
    path = tmp_path / "model.gguf"
    if family == "qwen3" and architecture in DIFFERING:
        with pytest.raises(LlamaNasError, match="Qwen3"):
            write_gguf(folder, architecture, path, "F32")
        assert not list(tmp_path.iterdir())
        return
    network = exported(folder, architecture, path)
    close(network.logits(PROMPT)[0], expected(folder, architecture, PROMPT))
    plain = {"mistral": "llama"}.get(family, family)
    assert architecture_of(path) == (plain if architecture in ALIKE else "deci")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("architecture", [FULL, DIFFERING[0]], ids=lambda a: a.id)
def test_branches_equal_whole_texts(folder, family, tmp_path, architecture):
    if family == "qwen3" and architecture in DIFFERING:
        pytest.skip("llama.cpp has no architecture for it")
    network = exported(folder, architecture, tmp_path / "model.gguf")
    branches = [PROMPT[30:33], PROMPT[40:41], *([PROMPT[50:52]] * 70)]  # more than a context has sequences
    last, *found = network.logits(PROMPT[:30], branches)
    close(last, expected(folder, architecture, PROMPT[:30])[-1:])
    for branch, logits in zip(branches[:3], found[:3], strict=True):
        close(logits, expected(folder, architecture, PROMPT[:30] + branch)[30:])
    assert len(found) == 72 and np.allclose(found[-1], found[2], atol=1e-3)


def test_prefill_and_decode_equal_the_full_prompt(llama, tmp_path):
    network = exported(llama, DIFFERING[1], tmp_path / "model.gguf")
    tokens = PROMPT[:10]
    for following, _ in zip(network.generate(PROMPT[:10]), range(12), strict=False):
        assert following == expected(llama, DIFFERING[1], tokens)[-1].argmax()
        tokens.append(following)


@pytest.mark.parametrize("architecture", [FULL, DIFFERING[0]], ids=lambda a: a.id)
@pytest.mark.parametrize("rope", ROPES.values(), ids=ROPES)
def test_scaled_rotary_positions(tmp_path, rope, architecture):
    folder = make_folder(tmp_path / "folder", "llama", rope_parameters=rope)
    network = exported(folder, architecture, tmp_path / "model.gguf")
    close(network.logits(PROMPT)[0], expected(folder, architecture, PROMPT))


@pytest.mark.parametrize("architecture", [FULL, DIFFERING[0]], ids=lambda a: a.id)
def test_biases_of_llama(tmp_path, architecture):
    folder = make_folder(tmp_path / "folder", "llama", attention_bias=True, mlp_bias=True)
    network = exported(folder, architecture, tmp_path / "model.gguf")
    close(network.logits(PROMPT)[0], expected(folder, architecture, PROMPT))


def test_a_sliding_window_becomes_the_context(tmp_path):
    folder = make_folder(tmp_path / "folder", "mistral", sliding_window=8)
    network = exported(folder, DIFFERING[0], tmp_path / "model.gguf")
    close(network.logits(PROMPT[:8])[0], expected(folder, DIFFERING[0], PROMPT[:8]))
    assert gguf.GGUFReader(tmp_path / "model.gguf").fields["deci.context_length"].contents() == 8


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"])
def test_quantized_files_are_smaller_and_near(llama, tmp_path, kind):
    whole = exported(llama, DIFFERING[2], tmp_path / "F32.gguf")
    network = exported(llama, DIFFERING[2], tmp_path / f"{kind}.gguf", kind)
    assert (tmp_path / f"{kind}.gguf").stat().st_size < (tmp_path / "F32.gguf").stat().st_size
    found, wanted = network.logits(PROMPT)[0], whole.logits(PROMPT)[0]
    error = np.abs(found - wanted).mean() / wanted.std()
    assert 0 < error < {"F16": 0.005, "Q8_0": 0.05}.get(kind, 0.5)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted({"F32.gguf", f"{kind}.gguf"})


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_tokens_equal_those_of_the_folder(tmp_path, kind):
    tiny_model(kind).save_pretrained(tmp_path)
    tiny_tokenizer(kind).save_pretrained(tmp_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    network = exported(tmp_path, FULL, tmp_path / "model.gguf")
    texts = [text for text in TEXTS if text]
    assert [network.encode(text) for text in texts] == [tokenizer(text).input_ids for text in texts]
    ids = tokenizer(texts[0]).input_ids
    assert "".join(map(network.piece, ids)) == texts[0]
    assert network.chat_template == tokenizer.chat_template
    assert network.ends(tokenizer.eos_token_id)


SPACES = ["a", " a", "   the cats", "they  and   the    cats ", "\n the\n\n\tcats", "</s> the</s>cats", "\u2581a", " "]
REPLACE = normalizers.Replace(" ", "\u2581")


def sentencepiece_folder(path, tokenizer):
    tiny_model("llama", vocab_size=400).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize(
    "parts", [{}, {"normalizer": REPLACE}, {"pre_tokenizer": Metaspace(prepend_scheme="never", split=False)}], ids=str
)
def test_sentencepiece_tokens_equal_those_of_the_folder(tmp_path, parts):
    folder = sentencepiece_folder(tmp_path, sentencepiece_tokenizer(**parts))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    network = exported(folder, FULL, tmp_path / "model.gguf")
    texts = [*filter(None, TEXTS), *SPACES]
    assert [network.encode(text) for text in texts] == [tokenizer(text).input_ids for text in texts]
    text = "they cost 12 cats"
    assert "".join(map(network.piece, tokenizer(text).input_ids[1:])) == " " * (not parts) + text


def with_fewer_merges():
    """Merges as trained from texts: one for each piece."""
    tokenizer = sentencepiece_tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    merges = {"".join(pair): pair for pair in state["model"]["merges"]}
    state["model"]["merges"] = list(merges.values())
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token="<s>")


def with_a_word():
    tokenizer = sentencepiece_tokenizer()
    tokenizer.add_tokens(["word"])
    return tokenizer


@pytest.mark.parametrize(
    "make",
    [
        lambda: sentencepiece_tokenizer(pre_tokenizer=Metaspace(prepend_scheme="first", split=False)),
        lambda: sentencepiece_tokenizer(pre_tokenizer=Metaspace(prepend_scheme="always", split=False)),
        lambda: sentencepiece_tokenizer(pre_tokenizer=Metaspace(prepend_scheme="never")),  # spaces are not joined
        lambda: sentencepiece_tokenizer(normalizers.Sequence([normalizers.NFKC(), REPLACE])),
        with_fewer_merges,
        with_a_word,
    ],
)
def test_a_sentencepiece_tokenizer_that_llamacpp_does_not_reproduce_is_refused(tmp_path, make):
    folder = sentencepiece_folder(tmp_path / "folder", make())
    with pytest.raises(LlamaNasError, match="does not reproduce the tokenizer"):
        write_gguf(folder, FULL, tmp_path / "model.gguf", "F32")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_without_tokenizer_is_refused(family_folder, tmp_path):
    with pytest.raises(LlamaNasError, match="tokenizer"):
        write_gguf(family_folder, FULL, tmp_path / "model.gguf", "F32")
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF\x03")
    with pytest.raises(LlamaNasError, match="model.gguf"):
        GgufNetwork(tmp_path / "model.gguf")
