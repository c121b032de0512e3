"""Progress of long work as lines in a job's log: how many of how many, rate, time left."""

import sys
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")


class _Lines:
    """A stream that turns the carriage returns of a progress bar into lines, since a log is no terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            self.stream.write(line + "\n")

    def flush(self) -> None:
        self.stream.flush()


def progress(items: Iterable[Item], what: str, total: int | None = None, unit: str = "step") -> Iterator[Item]:
    """The items, with a line on standard error at most every five seconds and one at the end."""
    from tqdm import tqdm

    layout = "{desc}: {n_fmt} of {total_fmt} {unit}s, {rate_fmt}, {elapsed} so far, {remaining} left{postfix}"
    yield from tqdm(
        items, what, total, file=_Lines(sys.stderr), mininterval=5, unit=unit, bar_format=layout, dynamic_ncols=False
    )
