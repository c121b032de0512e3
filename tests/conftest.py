"""What all tests share: tiny random models of every supported family, and a finished run of the tiny experiment."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "workflow"))
# Tensors of tiny models gain nothing from a second thread, for which every operation waits where the cores are in use.
# Jobs set their own number. Read when torch is imported, which only some tests need.
os.environ["OMP_NUM_THREADS"] = "1"

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
SECRET = "hf_thisMustStandNowhere"
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 320,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
}
ROPES = {  # scaled rotary positions, as a config.json tells of them
    "linear": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
        "rope_theta": 5e5,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 1e4},
}


def pytest_addoption(parser) -> None:
    parser.addoption("--every-fault", action="store_true", help="the whole fault table, which takes half an hour")


def tiny_config(family: str, **changes):
    """Transformers' config of a tiny model of this family."""
    from transformers import AutoConfig

    extra = {"sliding_window": 8} if family == "mistral" else {}
    return AutoConfig.for_model(family, **(SIZES | {"tie_word_embeddings": family != "qwen3"} | extra | changes))


def tiny_model(family: str, seed: int = 0, **changes):
    """Transformers' model of this family with every parameter random, norms and biases included."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(family, **changes), attn_implementation="eager")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.1 if "norm" in name or "bias" in name else 0.15)
    return model.eval()


@pytest.fixture(scope="session", params=FAMILIES)
def family(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def family_folder(family, tmp_path_factory) -> Path:
    """A folder with a tiny random model of the family."""
    folder = tmp_path_factory.mktemp(family)
    tiny_model(family).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """Directory of a finished run of the tiny experiment."""
    from tiny_experiment import write_experiment
    from workflow_runner import snakemake

    folder = tmp_path_factory.mktemp("tiny")
    write_experiment(folder)
    run = snakemake(folder, "--configfile", "tiny.yaml", HF_TOKEN=SECRET)
    assert run.returncode == 0, run.stdout[-5000:]
    return folder
