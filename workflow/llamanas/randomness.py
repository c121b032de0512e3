"""Every random draw of the workflow comes from (root seed, what the draw is about), never from time or process."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy


def seed_for(root: int, *about: object) -> int:
    """A 63-bit seed for one purpose; equal for equal arguments on every machine and in every process."""
    text = "\x1f".join([str(root), *map(str, about)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(root: int, *about: object) -> "numpy.random.Generator":
    """A NumPy generator for one purpose."""
    import numpy

    return numpy.random.default_rng(seed_for(root, *about))


def shuffled_by_hash(identifiers: list[str], *about: object) -> list[str]:
    """The identifiers in an order that depends on each identifier and the purpose alone.

    The first n of the order are a random sample that does not change when other items come or go.
    """
    return sorted(identifiers, key=lambda identifier: (seed_for(0, *about, identifier), identifier))
