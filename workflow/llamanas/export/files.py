"""Write ONNX networks: the graph in one file, its weights in another beside it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from llamanas.artifacts import whole_file
from llamanas.progress import progress


def save_network(network: ir.Model, path: Path) -> None:
    """Write a graph to ``path`` and its weights to ``path`` with ``.data`` appended; the graph, put in place last, is
    there only when both are whole.

    Raises:
        LlamaNasError: no space is left on the device.
    """
    data = data_file(path)
    work = path.with_name(f".{path.name}.part")
    shutil.rmtree(work, ignore_errors=True)  # what a killed process has left
    with whole_file(path) as graph, whole_file(data) as weights, _folder(work):
        # The graph names its weights' file, so that both are written under their own names.
        written = progress(range(len(network.graph.initializers)), f"write {path.name}", unit="tensor")

        def tell(*_: object) -> None:
            next(written, None)

        ir.save(network, work / path.name, external_data=data.name, callback=tell)
        os.replace(work / data.name, weights)
        os.replace(work / path.name, graph)


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """A folder that is there for the block alone."""
    path.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)


def data_file(path: Path) -> Path:
    """The file beside an ONNX graph that holds its weights."""
    return path.with_name(f"{path.name}.data")
