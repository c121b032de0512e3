"""Log-likelihoods of items under many sub-networks: exact, without a copy of a weight, shared steps computed once.

Items are divided into slabs whose shared hidden states fit a memory budget. In each slab the sub-networks are visited
as a trie over their sub-layers (``trie.py``), and each one's numbers are kept as soon as it is reached. Logits are
computed only where a token is scored.
"""

from collections.abc import Iterator, MutableMapping
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llamanas.architecture import Architecture, Step
from llamanas.models.decoder import Decoder
from llamanas.progress import progress
from llamanas.search.batches import Batch, Row, batches, packed_rows
from llamanas.search.trie import build_trie, walk

SHARED_BYTES = 2 * 2**30  # hidden states that are kept for further sub-networks
STATES = 12  # alive at once for up to 1,024 sub-networks; a constant, so that no result depends on their number
CPU_TOKENS = 512  # positions in a batch: enough to fill the matrix units, few enough for the caches
GPU_TOKENS = 16384
LOGIT_BYTES = {"cpu": 2**26, "cuda": 2**31}  # of the float32 logits of one step, which needs about twice as much

Kept = MutableMapping[tuple[str, int], NDArray]


class Scorer:
    """Scores one set of items, in batches whose size is halved whenever memory runs out.

    ``batch_tokens`` limits the positions of a batch, padding counted; by default it follows from the device and the
    network's sizes alone, so that equal runs have equal batches.
    """

    def __init__(
        self, decoder: Decoder, items: list[dict], batch_tokens: int | None = None, shared_bytes: int = SHARED_BYTES
    ) -> None:
        self.decoder, self.items, self.shared_bytes = decoder, items, shared_bytes
        self.device = decoder.frequencies.device
        self.batch_tokens = batch_tokens or found_batch_tokens(decoder)
        self.counts_hits = any(item["kind"] != "multiple_choice" for item in items)

    def score(self, architectures: list[Architecture], kept: Kept) -> dict[str, NDArray]:
        """Per sub-network, by its identifier, an array [1 or 2, choices of all items].

        Its first row is the summed log-probability of each choice's scored tokens. A second one, the number of scored
        tokens that are the most likely of the vocabulary, is there unless all items are multiple-choice.

        ``kept`` takes each finished (sub-network, slab); what it already has is not computed again.
        """
        if not architectures:
            return {}
        slabs = self._slabs()
        for number, indices in enumerate(slabs):
            what = "evaluate" if len(slabs) == 1 else f"evaluate, part {number + 1} of {len(slabs)} of the items"
            self._score_slab(architectures, number, [self.items[index] for index in indices], kept, what)
        first = np.cumsum([0, *(len(item["branches"]) for item in self.items)])
        order = np.concatenate([np.arange(first[i], first[i + 1]) for indices in slabs for i in indices])
        place = np.argsort(order)
        everything = {a.id: [kept[a.id, number] for number in range(len(slabs))] for a in architectures}
        return {name: np.concatenate(parts, axis=1)[:, place] for name, parts in everything.items()}

    def _slabs(self) -> list[list[int]]:
        """Indices of the items of each slab, shorter items first; they depend on the items and the budget alone."""
        width = self.decoder.shape.hidden_size * self.decoder.model.norm.weight.element_size()
        lengths = [sum(row.length for row in packed_rows([item])) for item in self.items]
        order = sorted(range(len(self.items)), key=lambda index: (lengths[index], index))
        # Besides the states, each position has its row of the mask.
        needs = [lengths[index] * (STATES * width + lengths[index]) for index in order]
        slabs: dict[int, list[int]] = {}
        for index, total in zip(order, accumulate(needs), strict=True):
            slabs.setdefault(int(total // self.shared_bytes), []).append(index)
        return list(slabs.values())

    def _score_slab(
        self, architectures: list[Architecture], number: int, items: list[dict], kept: Kept, what: str
    ) -> None:
        rows = packed_rows(items)
        while left := [a for a in architectures if (a.id, number) not in kept]:
            try:
                for architecture, values in progress(self._walk(left, rows), what, len(left), "candidate"):
                    kept[architecture.id, number] = values
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.batch_tokens <= max(row.length for row in rows):
                    raise
                self.batch_tokens //= 2
            else:
                continue
            torch.cuda.empty_cache()  # after the exception, whose traceback holds tensors
            print(f"memory ran out; going on with batches of {self.batch_tokens} tokens")

    @torch.inference_mode()
    def _walk(self, architectures: list[Architecture], rows: list[Row]) -> Iterator[tuple[Architecture, NDArray]]:
        decoder = self.decoder
        made = batches(rows, self.batch_tokens, str(self.device))
        places = [decoder.place(batch.sequence) for batch in made]
        trie, layers = build_trie(architectures), decoder.layers
        alone = sum(len(architecture.steps) for architecture in architectures)
        print(
            f"{len(architectures)} sub-networks on {len(rows)} rows in {len(made)} batches of at most "
            f"{self.batch_tokens} tokens: {trie.steps} sub-layers to compute, {alone} without sharing"
        )

        def advance(states: list[Tensor], step: Step, again: bool) -> list[Tensor]:
            states = list(states) if again else states
            layer, part = step
            for index, place in enumerate(places):
                states[index] = layers[layer](states[index], place, part)
            return states

        embedded = [decoder.model.embed_tokens(batch.sequence.tokens) for batch in made]
        for architecture, states in walk(trie, embedded, advance):
            yield architecture, self._judge_tokens(made, states, sum(len(row.branches) for row in rows))

    def _judge_tokens(self, made: list[Batch], states: list[Tensor], choices: int) -> NDArray:
        """The array of :meth:`score` for one sub-network, from its last hidden states."""
        logs, hits = [], []
        head, norm = self.decoder.lm_head, self.decoder.model.norm
        size = max(LOGIT_BYTES[self.device.type] // (4 * self.decoder.shape.vocabulary_size), 1)
        for batch, x in zip(made, states, strict=True):
            hidden = norm(x.flatten(0, 1)[batch.rows])
            for part, targets in zip(hidden.split(size), batch.targets.split(size), strict=True):
                logits = head(part).float()
                logs.append(-torch.nn.functional.cross_entropy(logits, targets, reduction="none"))
                if self.counts_hits:
                    hits.append(logits.argmax(-1) == targets)
        owners = np.concatenate([batch.owners for batch in made])
        sums = [np.bincount(owners, torch.cat(part).double().cpu().numpy(), choices) for part in (logs, hits) if part]
        return np.stack(sums)


def found_batch_tokens(decoder: Decoder) -> int:
    """Positions in a batch for the decoder's device: on a GPU as many as an eighth of its memory holds, up to a limit.

    The rest is for weights, logits and shared states. A position takes about four MLP and eight hidden vectors.
    """
    if decoder.frequencies.device.type == "cpu":
        return CPU_TOKENS
    shape, size = decoder.shape, decoder.model.norm.weight.element_size()
    memory = torch.cuda.get_device_properties(decoder.frequencies.device).total_memory
    return min(GPU_TOKENS, memory // 8 // (size * (4 * shape.intermediate_size + 8 * shape.hidden_size)))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception says that the device's or the machine's memory ran out."""
    said = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in said)
