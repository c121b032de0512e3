"""Packed scoring of items against scoring every choice alone."""

import pytest
import torch

from llamanas.architecture import Architecture
from llamanas.data.tasks import branches
from llamanas.models.decoder import Sequence, load_decoder
from llamanas.search.evaluate import judge, load_and_score, loglikelihoods, packed_batches


def random_items(seed: int) -> list[dict]:
    """Items with shared and with differing contexts, one to five choices of one to four tokens."""
    draw = torch.Generator().manual_seed(seed)

    def tokens(low: int, high: int) -> list[int]:
        length = int(torch.randint(low, high + 1, (), generator=draw))
        return torch.randint(320, (length,), generator=draw).tolist()

    items = []
    for number in range(13):
        context = tokens(1, 9)
        contexts = [context + (tokens(0, 3) if number % 3 == 0 else []) for _ in range(1 + number % 5)]
        pairs = [(each, tokens(1, 4)) for each in contexts]
        if number % 6 == 0:  # as WinoGrande: the contexts differ from the first token on, the continuation is shared
            pairs = [(tokens(1, 5), pairs[0][1]) for _ in pairs]
        item = branches(pairs, 64) | {"item": f"t/{number}", "gold": [0], "lengths": [1] * len(pairs)}
        items.append(item | {"pairs": pairs})
    return items


@torch.no_grad()
def alone(decoder, architecture, context: list[int], choice: list[int]) -> float:
    tokens = torch.tensor([context + choice])
    logits = decoder(Sequence(tokens, torch.arange(tokens.shape[1])[None]), architecture)
    logs = logits[0, len(context) - 1 : -1].log_softmax(-1)
    return float(logs.gather(1, torch.tensor(choice)[:, None]).sum())


ARCHITECTURES = [None, Architecture((True, False, True, False), (96, 32, 128, 0))]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=["full", "subnet"])
@pytest.mark.parametrize("batch_tokens", [16, 4096])
def test_packed_equals_every_choice_alone(family_folder, architecture, batch_tokens):
    decoder, items = load_decoder(family_folder), random_items(1)
    architecture = architecture or decoder.shape.full
    measured = loglikelihoods(decoder, architecture, packed_batches(items, batch_tokens, "cpu"), items)
    for item, values in zip(items, measured, strict=True):
        expected = [alone(decoder, architecture, *pair) for pair in item["pairs"]]
        assert values == pytest.approx(expected, abs=2e-4)


def test_prefix_is_shared_and_long_prompts_lose_their_beginning():
    item = branches([([1, 2, 3], [7]), ([1, 2, 4], [8, 9])], 100)
    assert item == {"prefix": [1, 2], "branches": [[3, 7], [4, 8, 9]], "scored": [1, 2]}
    assert branches([([1, 2, 3, 4], [7])], 2)["prefix"] == [3, 4]


def test_metric_decides_the_choice():
    item = {"lengths": [1, 10], "gold": [1]}
    assert judge(item, [-2.0, -3.0], "acc")[:2] == (0, False)
    assert judge(item, [-2.0, -3.0], "acc_norm")[:2] == (1, True)
    assert judge(item, [-2.0, -3.0], "acc")[2] == pytest.approx(-1.3132617)


def test_finished_candidates_are_not_measured_again(family_folder, tmp_path, monkeypatch):
    items, shape = random_items(2), load_decoder(family_folder).shape
    candidates = [a.row(shape, 4) for a in (shape.full, ARCHITECTURES[1])]
    compute = {"dtype": "float32", "batch_tokens": 64}
    first = load_and_score(family_folder, "cpu", compute, candidates, items, "acc", tmp_path / "resume")
    monkeypatch.setattr("llamanas.search.evaluate.answers", lambda *_: pytest.fail("measured twice"))
    assert load_and_score(family_folder, "cpu", compute, candidates, items, "acc", tmp_path / "resume") == first
