"""What an artifact was made from: deterministic facts only, so that equal runs give equal bytes."""

import argparse
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from llamanas.artifacts import first_line, provenance_of, read_content, read_table
from llamanas.errors import LlamaNasError

if TYPE_CHECKING:
    from pyarrow import Table

PACKAGES = (
    "llamanas", "torch", "transformers", "peft", "lm-eval", "pyarrow", "onnxruntime", "onnxruntime-gpu", "pymoo",
    "scikit-learn",
)  # fmt: skip

MODEL_FILES = (".data", ".gguf", ".jinja", ".json", ".md", ".model", ".onnx", ".py", ".safetensors")
LISTS = ("manifest", "inventory")  # artifacts that hold the hashes of files
WEIGHTS = (".safetensors", ".onnx", ".onnx.data", ".gguf")


@cache
def package_versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_rows(folder: Path) -> list[dict]:
    """Rows of artifact ``manifest``: name, bytes and SHA-256 of each file of a model's folder, by name."""
    files = sorted(path for path in folder.iterdir() if path.suffix in MODEL_FILES and not path.name.startswith("."))
    return [manifest_row(path, path.name) for path in files]


def manifest_row(path: Path, name: str) -> dict:
    """What artifacts ``manifest`` and ``inventory`` hold of a file, under this name."""
    return {"file": name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}


def require_listed(folder: Path, weights: bool = True) -> None:
    """Hash the files of a model's folder again, its weights only if ``weights``.

    Raises:
        LlamaNasError: the folder's manifest is missing or damaged, or a file is not the one that it lists.
    """
    manifest = folder / "manifest.parquet"
    for row in read_table(manifest, "manifest").to_pylist():
        path = folder / row["file"]
        if not weights and path.name.endswith(WEIGHTS):
            continue
        if not path.is_file():
            raise LlamaNasError(f"{path} is missing, which {manifest} lists. Delete {folder} and run again.")
        if path.stat().st_size != row["bytes"] or sha256_of(path) != row["sha256"]:
            raise LlamaNasError(
                f"{path} is damaged: it is not the file of {row['bytes']:,} bytes whose SHA-256 {manifest} lists. "
                f"Delete {folder} and run again to make it anew."
            )


def stamp(stage: str, seed: int, params: dict, inputs: Iterable[str]) -> dict:
    """The provenance of one stage's tables: stage, seed, parameters, package versions and hashes of the inputs.

    Weights are not among them: the manifest that travels with them holds their hash.

    Raises:
        LlamaNasError: an input table is damaged.
    """
    return {
        "stage": stage,
        "seed": seed,
        "params": params,
        "packages": package_versions(),
        "inputs": {path: _sha256_of_input(path) for path in sorted(inputs) if not path.endswith(WEIGHTS)},
    }


def _sha256_of_input(path: str) -> str:
    return hashlib.sha256(read_content(path)).hexdigest() if path.endswith(".parquet") else sha256_of(path)


def broken_links(path: Path, directory: Path) -> Iterator[str]:
    """What does not fit in the chain of files that an artifact was made from, the nearest link first.

    Every input that a table's stamp names is hashed again, and every file that a manifest lists. Paths of stamps are
    relative to the run's ``directory``.

    Raises:
        LlamaNasError: the file is missing, or not an artifact of the workflow.
    """
    seen, waiting = {path}, [path]
    while waiting:
        table, here = _opened(waiting[0], directory), waiting.pop(0)
        for row in table.to_pylist() if provenance_of(table)["artifact"] in LISTS else []:
            yield from _difference(here.parent / row["file"], row["sha256"], here, directory)
        for name, expected in provenance_of(table)["inputs"].items():
            yield from _difference(Path(name), expected, here, directory)
            if name.endswith(".parquet") and Path(name) not in seen and (directory / name).exists():
                seen.add(Path(name))
                waiting.append(Path(name))


def _difference(path: Path, expected: str, maker: Path, directory: Path) -> Iterator[str]:
    if not (directory / path).exists():
        yield f"{directory.resolve() / path} is missing, which {maker} was made from or lists"
    elif (found := sha256_of(directory / path)) != expected:
        yield f"{path} has SHA-256 {found}, but {maker} says {expected}"


def _opened(path: Path, directory: Path) -> "Table":
    """The table of an artifact."""
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table as read_parquet

    if not (directory / path).exists():
        raise LlamaNasError(
            f"there is no {directory.resolve() / path}; paths are below the run's directory, which --directory gives."
        )
    try:
        table = read_parquet(directory / path, partitioning=None)
        about = provenance_of(table)
    except (OSError, ArrowException, ValueError) as error:
        raise LlamaNasError(f"{path} is not a readable Parquet file: {first_line(error)}") from error
    if not about.keys() >= {"artifact", "stage", "seed", "inputs"}:
        raise LlamaNasError(f"{path} was not made by this workflow: it has no provenance.")
    return table


def story(path: Path, directory: Path) -> Iterator[str]:
    """Lines that say what an artifact was made from, each input once and indented below the first that used it."""
    seen: set[Path] = set()

    def lines(here: Path, depth: int) -> Iterator[str]:
        indent = "  " * depth
        if here in seen:
            yield f"{indent}{here} (above)"
            return
        seen.add(here)
        about = provenance_of(_opened(here, directory))
        yield f"{indent}{here}: {about['artifact']} of stage {about['stage']}, seed {about['seed']}"
        for name, digest in about["inputs"].items():
            if name.endswith(".parquet") and (directory / name).exists():
                yield from lines(Path(name), depth + 1)
            else:
                yield f"{indent}  {name}: SHA-256 {digest}"
        if about["artifact"] in LISTS:
            for row in _opened(here, directory).to_pylist():
                yield f"{indent}  {here.parent / row['file']}: SHA-256 {row['sha256']}"

    yield from lines(path, 0)


def main() -> None:
    """`python -m llamanas.provenance FILE [--verify] [--directory RUN]`."""
    parser = argparse.ArgumentParser(prog="python -m llamanas.provenance", description="What a table was made from.")
    parser.add_argument("file", type=Path, help="a Parquet file of a run, relative to its directory")
    parser.add_argument("--directory", type=Path, default=Path(), help="directory of the run")
    parser.add_argument("--verify", action="store_true", help="hash the chain again; name the first broken link")
    options = parser.parse_args()
    try:
        if options.verify and (broken := next(broken_links(options.file, options.directory), None)):
            raise SystemExit(f"broken: {broken}")
        print("\n".join(story(options.file, options.directory)))
    except LlamaNasError as error:
        raise SystemExit(f"error: {error}") from None
    if options.verify:
        print("every link holds")


if __name__ == "__main__":
    main()
