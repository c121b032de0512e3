"""Write ONNX networks: the graph in one file, its weights in another beside it."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

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
    with whole_file(path) as graph, TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as work:
        # The graph names its weights' file, so that both are written under their own names.
        written = progress(range(len(network.graph.initializers)), f"write {path.name}", unit="tensor")

        def tell(*_: object) -> None:
            next(written, None)

        ir.save(network, Path(work, path.name), external_data=data.name, callback=tell)
        os.replace(Path(work, data.name), data)
        os.replace(Path(work, path.name), graph)


def data_file(path: Path) -> Path:
    """The file beside an ONNX graph that holds its weights."""
    return path.with_name(f"{path.name}.data")
