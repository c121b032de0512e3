"""What an artifact was made from: deterministic facts only, so that equal runs give equal bytes."""

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("llamanas", "torch", "transformers", "peft", "lm-eval", "pyarrow", "onnxruntime", "pymoo", "scikit-learn")

MODEL_FILES = (".jinja", ".json", ".md", ".model", ".py", ".safetensors")
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
    return [{"file": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in files]


def stamp(stage: str, seed: int, params: dict, inputs: Iterable[str]) -> dict:
    """The provenance of one stage's tables: stage, seed, parameters, package versions and hashes of the inputs.

    Weights are not hashed again in every job: the manifest that travels with them holds their hash.
    """
    return {
        "stage": stage,
        "seed": seed,
        "params": params,
        "packages": package_versions(),
        "inputs": {str(path): sha256_of(path) for path in sorted(inputs) if not path.endswith(WEIGHTS)},
    }
