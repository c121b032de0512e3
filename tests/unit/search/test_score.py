"""Packed scoring of sub-networks that share steps, against scoring every choice of every sub-network alone."""

import numpy as np
import pytest
import torch

from items import SUBNETS, random_items
from llamanas.models.decoder import load_decoder
from llamanas.models.place import Sequence
from llamanas.search import score
from llamanas.search.score import Scorer, is_out_of_memory


@torch.no_grad()
def alone(decoder, architecture, context: list[int], choice: list[int]) -> tuple[float, int]:
    tokens = torch.tensor([context + choice])
    logits = decoder(Sequence(tokens, torch.arange(tokens.shape[1])[None]), architecture)
    logs = logits[0, len(context) - 1 : -1].log_softmax(-1)
    targets = torch.tensor(choice)
    return float(logs.gather(1, targets[:, None]).sum()), int((logs.argmax(-1) == targets).sum())


@pytest.mark.parametrize("batch_tokens", [16, 4096])
@pytest.mark.parametrize("shared_bytes", [1, 2**30], ids=["many slabs", "one slab"])
def test_shared_and_packed_equals_every_choice_alone(family_folder, batch_tokens, shared_bytes):
    decoder, items = load_decoder(family_folder), random_items(1, "loglikelihood")
    architectures = [decoder.shape.full, *SUBNETS]
    values = Scorer(decoder, items, batch_tokens, shared_bytes).score(architectures, {})
    for architecture in architectures:
        expected = np.array([alone(decoder, architecture, *pair) for item in items for pair in item["pairs"]]).T
        np.testing.assert_allclose(values[architecture.id][0], expected[0], atol=2e-4)
        np.testing.assert_array_equal(values[architecture.id][1], expected[1])


def test_a_subnetworks_numbers_do_not_depend_on_the_others(family_folder):
    decoder, items = load_decoder(family_folder), random_items(2)
    together = Scorer(decoder, items).score(SUBNETS, {})
    for architecture in SUBNETS:
        by_itself = Scorer(decoder, items).score([architecture], {})
        np.testing.assert_array_equal(by_itself[architecture.id], together[architecture.id])


@pytest.mark.parametrize("shared_bytes", [2**16, 2**17, 2**30])
def test_numbers_do_not_depend_on_the_division_into_chunks(family_folder, shared_bytes):
    decoder, items = load_decoder(family_folder), random_items(6)
    together = Scorer(decoder, items, 64, shared_bytes).score(SUBNETS, {})
    for of in (1, 2, len(SUBNETS)):
        for number in range(of):
            part = SUBNETS[number::of]
            for name, values in Scorer(decoder, items, 64, shared_bytes).score(part, {}).items():
                np.testing.assert_array_equal(values, together[name])


def test_nothing_to_score_gives_nothing(family_folder):
    assert Scorer(load_decoder(family_folder), random_items(7)).score([], {}) == {}


def test_kept_numbers_are_not_computed_again(family_folder, monkeypatch):
    decoder, items = load_decoder(family_folder), random_items(3)
    kept: dict = {}
    expected = Scorer(decoder, items).score(SUBNETS, kept)
    del kept[SUBNETS[1].id, 0]
    left = []
    original = score.build_trie
    monkeypatch.setattr(score, "build_trie", lambda architectures: left.append(architectures) or original(left[-1]))
    again = Scorer(decoder, items).score(SUBNETS, kept)
    assert left == [[SUBNETS[1]]]
    for name, values in expected.items():
        np.testing.assert_array_equal(again[name], values)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_memory_that_runs_out_halves_the_batch(family_folder, monkeypatch, capsys, error):
    decoder, items = load_decoder(family_folder), random_items(4)
    expected = Scorer(decoder, items, 512).score(SUBNETS, {})
    forward = type(decoder.layers[0]).forward

    def short_of_memory(self, x, *rest):
        if x.shape[0] * x.shape[1] > 100:
            raise error
        return forward(self, x, *rest)

    monkeypatch.setattr(type(decoder.layers[0]), "forward", short_of_memory)
    values = Scorer(decoder, items, 512).score(SUBNETS, {})
    assert "going on with batches of 256 tokens" in capsys.readouterr().out
    for name in expected:
        np.testing.assert_allclose(values[name], expected[name], atol=1e-4)


def test_other_errors_are_not_taken_for_want_of_memory(family_folder, monkeypatch):
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    decoder = load_decoder(family_folder)

    def broken(*_):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(type(decoder.layers[0]), "forward", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        Scorer(decoder, random_items(5)).score(SUBNETS, {})
