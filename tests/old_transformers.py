"""Whether folders of differing layers work in another version of transformers as in ours; CONTRIBUTING.md has the use.

``write FOLDER`` exports a tiny sub-network of each family with what ours answers; ``check FOLDER`` compares.
"""

import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM

from conftest import FAMILIES, tiny_model
from llamanas.architecture import Architecture
from llamanas.export.huggingface import write_folder

MIXED = Architecture((2, 0, 1, 0), (96, 32, 0, 128))
THETAS = (10000.0, 500000.0)  # the first is what version 4 takes where it is told none


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()


def greedy(model, inputs, mask=None, **settings):
    mask = torch.ones_like(inputs) if mask is None else mask
    return model.generate(
        inputs, attention_mask=mask, max_new_tokens=12, do_sample=False, eos_token_id=None, **settings
    )


def write(folder: Path) -> None:
    inputs = torch.randint(1, 320, (2, 20), generator=torch.Generator().manual_seed(1))
    for family in FAMILIES:
        for theta in THETAS:
            source = folder / f"{family}-{theta:.0f}"
            rope = {"rope_type": "default", "rope_theta": theta}
            tiny_model(family, rope_parameters=rope).save_pretrained(source)
            write_folder(source, MIXED, source / "cut", "mit")
            model = load(source / "cut")
            expected = {"inputs": inputs, "logits": model(inputs).logits, "generated": greedy(model, inputs[:, :6])}
            torch.save(expected, source / "expected.pt")


def check(source: Path) -> None:
    expected, model = torch.load(source / "expected.pt"), load(source / "cut")
    inputs = expected["inputs"]
    torch.testing.assert_close(model(inputs).logits, expected["logits"], atol=1e-5, rtol=0)
    for cached in (True, False):
        assert torch.equal(greedy(model, inputs[:, :6], use_cache=cached), expected["generated"])
    padded, mask = inputs[:, :9].clone(), torch.ones(2, 9, dtype=torch.long)
    padded[0, :4], mask[0, :4] = 0, 0
    both = greedy(model, padded, mask)
    assert torch.equal(both[0, 4:], greedy(model, padded[:1, 4:])[0])
    assert torch.equal(both[1], greedy(model, padded[1:])[0])
    model.save_pretrained(source / "again")
    assert torch.equal(load(source / "again")(inputs).logits, model(inputs).logits)


if __name__ == "__main__":
    action, place = sys.argv[1], Path(sys.argv[2])
    with torch.no_grad():
        if action == "write":
            write(place)
        else:
            for source in sorted(place.iterdir()):
                check(source)
                print(f"{source.name}: equal in transformers {transformers.__version__}")
