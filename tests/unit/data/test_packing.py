"""Packed training batches: examples do not see each other, and only answers are predicted."""

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from llamanas.data.packing import divide, epochs, flatten, longest, pack
from llamanas.models import decoder as decoders
from llamanas.models.decoder import load_decoder
from llamanas.models.place import Sequence

EXAMPLES = [
    {"source": "a", "prompt": [1, 2, 3], "answer": [4, 5], "labelled": True},
    {"source": "a", "prompt": [6], "answer": [7, 8, 9], "labelled": False},
    {"source": "a", "prompt": [10, 11, 12, 13], "answer": [14], "labelled": True},
]
LONG = {"source": "a", "prompt": [], "answer": list(range(20, 33)), "labelled": True}  # than the tiny Mistral's window


@torch.no_grad()
def test_packed_examples_equal_single_ones(family_folder):
    decoder = load_decoder(family_folder)
    batch = pack(EXAMPLES, row_tokens=10)
    assert batch.sequence.tokens.shape[0] == 2 and batch.tokens == 14
    losses = torch.nn.functional.cross_entropy(
        decoder(batch.sequence).flatten(0, 1)[batch.rows], batch.targets, reduction="none"
    )
    expected = []
    for example in EXAMPLES:
        tokens = torch.tensor([example["prompt"] + example["answer"]])
        logits = decoder(Sequence(tokens, torch.arange(tokens.shape[1])[None]))[0]
        start = len(example["prompt"])
        expected += torch.nn.functional.cross_entropy(
            logits[start - 1 : -1], tokens[0, start:], reduction="none"
        ).tolist()
    torch.testing.assert_close(losses.sort().values, torch.tensor(expected).sort().values, atol=1e-4, rtol=1e-4)


def test_targets_know_whose_they_are_and_padding_is_not_real():
    batch = pack([*EXAMPLES, LONG], row_tokens=14)
    right = {4, 5, 14, *LONG["answer"][1:]}  # nothing predicts the first token of all
    assert dict(zip(batch.targets.tolist(), batch.labelled.tolist(), strict=True)) == {
        token: token in right for token in [*right, 7, 8, 9]
    }
    assert batch.real.shape == batch.sequence.tokens.shape == (2, 14)
    assert batch.real.sum() == batch.tokens == 27 and batch.sequence.tokens[~batch.real].sum() == 0


def plain_attention(q, k, v, bounds, same_bounds, most, same_most, window_size):
    """What the kernel for texts in a row computes: each by itself, from first to last."""
    assert same_bounds is bounds and same_most == most and bounds.dtype == torch.int32
    texts = []
    for low, high in zip(bounds.tolist(), bounds.tolist()[1:], strict=False):
        assert 0 <= high - low <= most
        near = torch.ones(high - low, high - low, dtype=torch.bool).tril()
        if window_size[0] >= 0:
            near = near.triu(-window_size[0])
        text = (part[low:high].transpose(0, 1) for part in (q, k, v))
        texts.append(scaled_dot_product_attention(*text, attn_mask=near).transpose(0, 1))
    return torch.cat(texts)


@torch.no_grad()
@pytest.mark.parametrize("row_tokens", [27, 40])
def test_a_flat_row_equals_packed_rows(family_folder, monkeypatch, row_tokens):
    monkeypatch.setattr(decoders, "varlen_attn", plain_attention)
    decoder, examples = load_decoder(family_folder), [*EXAMPLES, LONG]
    flat, packed = flatten(examples, row_tokens, longest(examples), "cpu"), pack(examples)
    for own, expected in zip(flat[1:4], packed[1:4], strict=True):
        assert torch.equal(own, expected)
    assert flat.tokens == packed.tokens == flat.real.sum() == 27
    own, expected = (decoder.hidden(batch.sequence)[batch.real] for batch in (flat, packed))
    torch.testing.assert_close(own, expected, atol=1e-4, rtol=1e-4)


def test_bounds_part_texts_and_padding():
    batch = flatten(EXAMPLES, 40, 7, "cpu")
    assert batch.sequence.bounds.tolist() == [0, 5, 9, 14, 21, 28, 35, 40]
    assert batch.sequence.visible is None and batch.sequence.longest == 7
    assert batch.sequence.tokens[0].tolist() == [*range(1, 15), *[0] * 26]
    assert batch.sequence.positions[0, :14].tolist() == [*range(5), *range(4), *range(5)]
    assert batch.real[0].tolist() == [True] * 14 + [False] * 26
    full = flatten(EXAMPLES, 14, 5, "cpu")
    assert full.sequence.bounds.tolist() == [0, 5, 9, 14] and full.real.all()


def test_flat_batches_have_equal_shapes_and_few_numbers_of_bounds():
    drawn = np.random.default_rng(0)
    numbers = set()
    for _ in range(30):
        examples = [EXAMPLES[index] for index in drawn.integers(3, size=drawn.integers(1, 9))]
        sequence = flatten(examples, 40, 5, "cpu").sequence
        assert sequence.tokens.shape == sequence.positions.shape == (1, 40)
        bounds = sequence.bounds.tolist()
        assert bounds[0] == 0 and bounds[-1] == 40 and bounds == sorted(bounds)
        assert max(np.diff(bounds)) <= 5
        numbers.add(len(bounds))
    assert numbers <= {8, 16, 32}


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_are_consecutive_and_about_equal(count):
    drawn = np.random.default_rng(count)
    examples = [
        {"source": "a", "prompt": [0] * int(prompt), "answer": [1] * int(answer), "labelled": True}
        for prompt, answer in drawn.integers(1, 12, (40, 2))
    ]
    parts = divide(examples, count)
    assert len(parts) == count and sum(parts, []) == examples
    tokens = [sum(len(e["prompt"]) + len(e["answer"]) for e in part) for part in parts]
    assert all(abs(each - sum(tokens) / count) <= longest(examples) for each in tokens)


def test_fewer_examples_than_parts_leave_some_empty():
    parts = divide(EXAMPLES[:2], 5)
    assert sum(parts, []) == EXAMPLES[:2] and sorted(map(len, parts)) == [0, 0, 0, 1, 1]


def test_every_example_comes_once_an_epoch_and_draws_depend_on_the_seed():
    def sources(seed: int) -> list[tuple]:
        stream, seen = epochs(EXAMPLES, 10, seed), []
        while len(seen) < 12:
            batch = next(stream)
            assert sum(len(e["prompt"]) + len(e["answer"]) for e in batch) <= 10
            seen += [tuple(e["prompt"]) for e in batch]
        return seen[:12]

    for start in range(0, 12, 3):
        assert len(set(sources(3)[start : start + 3])) == 3
    assert sources(3) == sources(3)
    assert any(sources(3) != sources(seed) for seed in range(4, 8))
