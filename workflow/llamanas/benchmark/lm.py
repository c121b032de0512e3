"""An exported network as lm-eval sees a model."""

from collections import defaultdict
from itertools import islice
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance

from llamanas.benchmark.session import Network
from llamanas.llamacpp import GgufNetwork
from llamanas.lm import Scored, TokenizedModel
from llamanas.progress import progress

ROWS = 64  # continuations computed at once
TOKENS = 4096  # positions computed at once, padding counted

Counted = tuple[float, int]
Contexts = dict[tuple[int, ...], list[int]]


class ExportedModel(TokenizedModel):
    """An exported network for lm-eval: an ONNX one, or with another ``score`` one of another runtime."""

    network: Any

    def __init__(self, network: Network | GgufNetwork, tokenizer: Any, max_length: int) -> None:
        super().__init__(tokenizer, max_length)
        self.network = network

    def _loglikelihood_tokens(self, requests: list, **kwargs: Any) -> list[Scored]:
        """Sum of the log-probabilities of each continuation, and whether each of its tokens is the most likely one."""
        lengths = [len(continuation) for _, _, continuation in requests]
        counted = zip(self.score([(context, rest) for _, context, rest in requests]), lengths, strict=True)
        return [(total, hits == length) for (total, hits), length in counted]

    def score(self, pairs: list[tuple[list[int], list[int]]]) -> list[Counted]:
        """For each context and continuation: the sum of its log-probabilities, and how many tokens are the likeliest.

        A context that several continuations share is computed once, and logits only where they are used. Most of a
        rolling text is continuation, so that it runs as a whole.
        """
        continuations = [continuation for _, continuation in pairs]
        contexts: Contexts = defaultdict(list)
        for index, (context, continuation) in enumerate(pairs):
            whole = [*context, *continuation][-self.max_length - 1 :]
            contexts[tuple(whole[: -len(continuation)])].append(index)
        scores: dict[int, Counted] = {}
        for start, indices in list(contexts.items()):
            if len(indices) == 1 and len(continuations[indices[0]]) > len(start):
                del contexts[start]
                scores[indices[0]] = self._score_whole(start, continuations[indices[0]])
        for batch in progress(_batches(contexts), "score", unit="group"):
            scores |= self._score(batch, continuations)
        return [scores[index] for index in range(len(pairs))]

    def _score_whole(self, context: tuple[int, ...], continuation: list[int]) -> Counted:
        """Score of one continuation in one run."""
        tokens = np.array([[*context, *continuation[:-1]]])
        logits, _ = self.network.run(tokens, keep=len(continuation))
        chosen = log_softmax(logits[0])[np.arange(len(continuation)), continuation]
        return float(chosen.sum()), int((logits[0].argmax(-1) == continuation).sum())

    def _score(self, batch: Contexts, continuations: list[list[int]]) -> dict[int, Counted]:
        """Scores of the continuations of a batch: the contexts first, then the continuations token by token."""
        lengths = np.array([len(context) for context in batch])
        tokens = np.zeros((len(batch), lengths.max()), np.int64)
        for row, context in zip(tokens, batch, strict=True):
            row[: len(context)] = context
        keep = int(lengths.max() - lengths.min()) + 1
        logits, cache = self.network.run(tokens, lengths=lengths, keep=keep)
        logits = logits[np.arange(len(batch)), lengths - lengths.max() - 1]
        owners = [index for indices in batch.values() for index in indices]
        rows = [row for row, indices in enumerate(batch.values()) for _ in indices]
        scores = dict.fromkeys(owners, (0.0, 0))
        step = 0
        while True:
            likelihoods = log_softmax(logits)
            for row, index in zip(rows, owners, strict=True):
                token = continuations[index][step]
                total, hits = scores[index]
                best = int(likelihoods[row].argmax() == token)
                scores[index] = total + float(likelihoods[row, token]), hits + best
            step += 1
            going = [(row, index) for row, index in zip(rows, owners, strict=True) if len(continuations[index]) > step]
            if not going:
                return scores
            sources, owners = [row for row, _ in going], [index for _, index in going]
            if sources != list(range(len(cache.lengths))):
                cache = cache.rows(sources)
            following = np.array([[continuations[index][step - 1]] for index in owners])
            logits, cache = self.network.run(following, cache)
            logits, rows = logits[:, 0], list(range(len(owners)))

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The most likely continuation of each text, up to one of its stop strings."""
        texts = []
        for context, settings in progress([request.args for request in requests], "generate", unit="text"):
            until, limit = settings.get("until", []), settings.get("max_gen_toks", 256)
            tokens: list[int] = []
            text = ""
            for token in islice(self.network.generate(self.tok_encode(context)[limit - self.max_length :]), limit):
                tokens.append(token)
                text = self.tokenizer.decode(tokens, skip_special_tokens=True)
                if token == self.eot_token_id or any(stop in text for stop in until):
                    break
            for stop in until:
                text = text.split(stop)[0]
            texts.append(text)
        return texts


def _batches(contexts: Contexts) -> list[Contexts]:
    """The contexts in batches of similar length."""
    batches: list[Contexts] = []
    rows = 0
    for context in sorted(contexts, key=lambda context: (len(context), context)):
        rows += len(contexts[context])
        if not batches or rows > ROWS or len(context) * (len(batches[-1]) + 1) > TOKENS:
            batches.append({})
            rows = len(contexts[context])
        batches[-1][context] = contexts[context]
    return batches


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities [rows, vocabulary]."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
