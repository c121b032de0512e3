"""A recorded teacher, with a stand-in for CUDA graphs, which need a GPU: it computes again what was recorded."""

from contextlib import contextmanager

import pytest
import torch

from conftest import tiny_model
from llamanas.data.packing import flatten
from llamanas.finetune.recorded import Recorded
from llamanas.models import decoder as of
from llamanas.models.decoder import load_decoder

TEXTS = [[{"source": "a", "prompt": [n], "answer": [n + s, 5], "labelled": True} for n in range(9)] for s in range(3)]


@pytest.fixture
def teacher(tmp_path, monkeypatch):
    def causal(q, k, v, *about, window_size):
        states = (t.transpose(0, 1) for t in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(*states, is_causal=True).transpose(0, 1)

    tiny_model("llama").save_pretrained(tmp_path)
    monkeypatch.setattr(of, "varlen_attn", causal)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    return load_decoder(tmp_path)


def test_replays_give_each_batch_its_states(teacher, monkeypatch):
    calls = []

    class Graph:
        def replay(self):
            self.result.copy_(teacher.hidden(self.given))

    @contextmanager
    def recording(graph, **about):
        yield
        graph.given, graph.result = calls[-1]

    def hidden(batch):
        calls.append((batch, teacher.hidden(batch)))
        return calls[-1][1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    recorded = Recorded(teacher)
    recorded.function = hidden
    for tokens in (30, 40, 30):
        for texts in TEXTS:
            batch = flatten(texts, tokens, 4, "cpu").sequence
            assert torch.equal(recorded(batch), teacher.hidden(batch))
    assert len(calls) == 4  # two shapes, each computed once before it is recorded


def test_what_cannot_be_recorded_is_computed(teacher, monkeypatch, capsys):
    @contextmanager
    def failing(graph, **about):
        raise RuntimeError("operation not permitted when stream is capturing")
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", failing)
    recorded, batch = Recorded(teacher), flatten(TEXTS[0], 30, 4, "cpu").sequence
    for _ in range(2):
        assert torch.equal(recorded(batch), teacher.hidden(batch))
    assert capsys.readouterr().err.count("not permitted") == 1
