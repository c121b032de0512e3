"""Packed training batches: examples do not see each other, and only answers are predicted."""

import torch

from llamanas.data.packing import epochs, pack
from llamanas.models.decoder import Sequence, load_decoder

EXAMPLES = [
    {"source": "a", "prompt": [1, 2, 3], "answer": [4, 5]},
    {"source": "a", "prompt": [6], "answer": [7, 8, 9]},
    {"source": "a", "prompt": [10, 11, 12, 13], "answer": [14]},
]


@torch.no_grad()
def test_packed_examples_equal_single_ones(family_folder):
    decoder = load_decoder(family_folder)
    batch = pack(EXAMPLES, 10)
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
