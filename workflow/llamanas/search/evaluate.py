"""Measure sub-networks on a task's items; what is finished is on disk before the next begins."""

import zipfile
import zlib
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llamanas.architecture import Architecture
from llamanas.artifacts import whole_file
from llamanas.models.decoder import load_decoder
from llamanas.search.score import Scorer


class KeptScores(MutableMapping[tuple[str, int], NDArray]):
    """Arrays of finished sub-networks as files, each written whole, which an interrupted job finds again.

    A damaged one is removed, to be measured again: the format holds a checksum.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for path in folder.glob("*.npz"):
            try:
                _values(path)
            except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile):
                print(f"{path} is damaged and is measured again")
                path.unlink()

    def _path(self, key: tuple[str, int]) -> Path:
        return self.folder / f"{key[0]}-{key[1]}.npz"

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and self._path(key).exists()

    def __getitem__(self, key: tuple[str, int]) -> NDArray:
        return _values(self._path(key))

    def __setitem__(self, key: tuple[str, int], value: NDArray) -> None:
        with whole_file(self._path(key)) as temporary, temporary.open("wb") as file:
            np.savez(file, values=value)

    def __delitem__(self, key: tuple[str, int]) -> None:
        self._path(key).unlink()

    def __iter__(self) -> Iterator[tuple[str, int]]:
        for path in sorted(self.folder.glob("*.npz")):
            name, _, slab = path.stem.rpartition("-")
            yield name, int(slab)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _values(path: Path) -> NDArray:
    with np.load(path, allow_pickle=False) as arrays:
        values: NDArray = arrays["values"]
        return values


def measure(
    folder: Path, device: str, compute: dict, candidates: list[dict], items: list[dict], resume: Path
) -> list[tuple[Architecture, NDArray]]:
    """Each candidate with its array of :meth:`llamanas.search.score.Scorer.score` on the items.

    They are views of the super-network in ``folder``. Each finished one is kept in ``resume``, where an interrupted job
    finds it again.
    """
    decoder = load_decoder(folder, device, compute["dtype"])
    scorer = Scorer(decoder, items, compute["batch_tokens"], int(compute["shared_gb"] * 2**30))
    architectures = [Architecture.from_row(candidate) for candidate in candidates]
    values = scorer.score(architectures, KeptScores(resume))
    return [(architecture, values[architecture.id]) for architecture in architectures]
