"""A finished run as a Workflow Run RO-Crate, and the list of all its files.

The crate is the folder of the report: page, tables, figures, configuration and the workflow's entry, described as the
profile Workflow Run Crate 0.5 asks (Leo et al. 2024, https://w3id.org/ro/wfrun/workflow/0.5).
"""

import json
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from llamanas import __version__
from llamanas.artifacts import read_content, whole_file
from llamanas.job import Job
from llamanas.provenance import manifest_row, sha256_of
from llamanas.report.costs import read_span
from llamanas.report.words import model_name
from llamanas.settings import ROOT

DESCRIPTOR = "ro-crate-metadata.json"
_SPECIFICATION = "https://w3id.org/ro/crate/1.1"
_WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    _WORKFLOW_CRATE: ("Workflow RO-Crate", "1.0"),
}
_TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}  # not among those of RO-Crate 1.1
_BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
_LICENSE = "https://spdx.org/licenses/Apache-2.0"
_TYPES = {
    ".html": "text/html", ".json": "application/json", ".svg": "image/svg+xml",
    ".parquet": "application/vnd.apache.parquet",
}  # fmt: skip


def record_run(run: Job) -> None:
    """Make the outputs of rule ``record_run``: ``crate``, ``workflow`` beside it, and the table ``inventory``.

    Raises:
        LlamaNasError: a table of the report or of a search is damaged, which would be recorded as it is.
    """
    for path in run.input:
        if path.endswith(".parquet"):
            read_content(path)
    folder, settings = run.path("crate").parent, run.params["settings"]
    with whole_file(run.path("workflow")) as temporary:
        shutil.copyfile(ROOT / "Snakefile", temporary)
    begin, end = read_span(Path(run.params["logs"])) or (None, datetime.now(UTC).timestamp())
    with whole_file(run.path("crate")) as temporary:
        temporary.write_text(json.dumps(describe(folder, settings, begin, end), indent=2) + "\n", encoding="utf-8")
    run.write("inventory", inventory(run.path("inventory").parent, run.path("inventory")))


def inventory(results: Path, itself: Path) -> list[dict]:
    """Rows of artifact ``inventory``: name, bytes and SHA-256 of every file below ``results``, but for hidden ones."""
    files = [path for path in sorted(results.rglob("*")) if path.is_file() and path != itself]
    names = [path.relative_to(results) for path in files]
    visible = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return [manifest_row(results / name, str(name)) for name in visible]


def describe(folder: Path, settings: dict, begin: float | None, end: float) -> dict:
    """The crate's metadata (RO-Crate 1.1, JSON-LD).

    Args:
        folder: folder of the report, which is the crate; its files are the crate's.
        settings: the whole configuration of the run.
        begin: when the first job began, in seconds since 1970, or None if nothing tells.
        end: when the last one ended.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != DESCRIPTOR]
    parts = [path for path in files if not path.name.startswith(".")]
    model = settings["model"]["source"]
    about = f"Sub-networks of {model_name(model)} for {', '.join(settings['tasks'])}, found by a search for each task."
    root = {
        "author": _link("#llamanas"), "publisher": _link("#llamanas"),
        "@id": "./", "@type": "Dataset", "name": f"LLaMA-NAS on {', '.join(settings['tasks'])}", "description": about,
        "datePublished": _time(end), "license": _link(_LICENSE), "mainEntity": _link("Snakefile"),
        "hasPart": [_link(path.relative_to(folder).as_posix()) for path in parts], "mentions": _link("#run"),
        "conformsTo": [_link(profile) for profile in _PROFILES],
    }  # fmt: skip
    descriptor = {
        "@id": DESCRIPTOR, "@type": "CreativeWork", "about": _link("./"),
        "conformsTo": [_link(_SPECIFICATION), _link(_WORKFLOW_CRATE)],
    }  # fmt: skip
    entities = [descriptor, root, *(_file(path, folder) for path in parts), *_context(settings)]
    entities.append(_action(parts, folder, about, begin, end))
    return {"@context": [f"{_SPECIFICATION}/context", _TERMS], "@graph": entities}


def _action(parts: list[Path], folder: Path, about: str, begin: float | None, end: float) -> dict:
    """The run: what was executed on what, and what came out."""
    names = [path.relative_to(folder).as_posix() for path in parts]
    action = {
        "@id": "#run", "@type": "CreateAction", "name": "Run of the LLaMA-NAS workflow", "description": about,
        "instrument": _link("Snakefile"), "object": [_link("experiment.json"), _link("#base-model")],
        "result": [_link(name) for name in names if name not in ("Snakefile", "experiment.json")],
        "endTime": _time(end), "actionStatus": "http://schema.org/CompletedActionStatus",
        "agent": _link("#llamanas"),
    }  # fmt: skip
    return action if begin is None else action | {"startTime": _time(begin)}


def _file(path: Path, folder: Path) -> dict:
    """A file of the crate; the workflow's own entry is one of them."""
    name = path.relative_to(folder).as_posix()
    entity = {
        "@id": name, "@type": "File", "name": name, "contentSize": str(path.stat().st_size),
        "sha256": sha256_of(path), "encodingFormat": _TYPES.get(path.suffix, "text/plain"),
    }  # fmt: skip
    if name != "Snakefile":
        return entity
    return entity | {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"], "name": "LLaMA-NAS workflow",
        "programmingLanguage": _link("#snakemake"), "version": __version__, "license": _link(_LICENSE),
        "creator": _link("#llamanas"), "conformsTo": _link(_BIOSCHEMAS),
    }  # fmt: skip


def _context(settings: dict) -> list[dict]:
    """What the crate refers to and does not hold."""
    source = settings["model"]["source"]
    model = {"@id": "#base-model", "@type": "CreativeWork", "name": model_name(source)}
    model |= {"description": f"Base model; its license: {source.get('license', 'not stated')}"}
    if "wheel" in source:
        model |= {"identifier": f"sha256:{source['wheel']['sha256']}"}
    return [
        {"@id": _LICENSE, "@type": "CreativeWork", "name": "Apache License 2.0", "identifier": _LICENSE},
        {"@id": "#snakemake", "@type": "ComputerLanguage", "name": "Snakemake", "version": version("snakemake"),
         "identifier": "https://w3id.org/workflowhub/workflow-ro-crate#snakemake", "url": "https://snakemake.github.io"},
        {"@id": "#llamanas", "@type": "Organization", "name": "The LLaMA-NAS workflow authors"},
        *({"@id": profile, "@type": "CreativeWork", "name": name, "version": number}
          for profile, (name, number) in _PROFILES.items()),
        model,
    ]  # fmt: skip


def _link(identifier: str) -> dict:
    return {"@id": identifier}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
