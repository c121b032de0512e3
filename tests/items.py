"""Random items of a task, and sub-networks of the tiny models that share some of their steps."""

import torch

from llamanas.architecture import Architecture
from llamanas.data.tasks import branches

SUBNETS = [
    Architecture((2, 0, 2, 0), (96, 32, 128, 0)),
    Architecture((2, 0, 2, 0), (96, 32, 64, 0)),
    Architecture((2, 2, 2, 2), (128, 128, 128, 32)),
    Architecture((2, 0, 0, 0), (96, 0, 0, 0)),  # all its steps begin another one
    Architecture((2, 0, 2, 2), (96, 32, 64, 128)),
    Architecture((2, 0, 1, 2), (96, 32, 64, 128)),
]


def random_items(seed: int, kind: str = "multiple_choice") -> list[dict]:
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
        item = branches(pairs, 64) | {"item": f"t/{number}", "gold": [0], "lengths": [1] * len(pairs), "kind": kind}
        items.append(item | {"pairs": pairs, "weight": 1.0})
    return items
