"""The experiment's configuration: checked against the schema, defaults filled in. Imported while Snakemake parses."""

import copy
from pathlib import Path
from typing import Any

import yaml

from llamanas.errors import LlamaNasError
from llamanas.quantize.recipes import complete_recipes

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"


def complete(config: dict) -> dict:
    """The configuration with every default of the schema, checked.

    Raises:
        LlamaNasError: an unknown key, a value of the wrong type or range, or settings that contradict each other.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    schema = yaml.safe_load(SCHEMA.read_text())
    config = _with_defaults(config, schema)
    error = best_match(Draft202012Validator(schema).iter_errors(config), key=lambda e: -len(e.path))
    if error is not None:
        raise LlamaNasError(_explain(error))
    unknown = set(config["export"]["picks"]) - config["select"]["picks"].keys()
    if unknown:
        raise LlamaNasError(
            f"export.picks names {sorted(unknown)}, which select.picks does not define; it defines "
            f"{sorted(config['select']['picks'])}."
        )
    for name, rule in config["select"]["picks"].items():
        needed = {"smallest_within": "points", "cost_share": "share"}.get(rule["rule"])
        if needed and needed not in rule:
            raise LlamaNasError(f"select.picks.{name}: rule {rule['rule']!r} needs the number {needed!r}.")
    quantize = config["quantize"]
    quantize["recipes"] = complete_recipes(quantize["recipes"], config["export"]["precisions"])
    if ".." in Path(config["results"]).parts:
        raise LlamaNasError("results must be a folder below the working directory; use --directory to work elsewhere.")
    return config


def _with_defaults(value: Any, schema: dict) -> Any:
    """The value with the schema's defaults for missing keys of objects, at every depth."""
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for key, part in schema.get("properties", {}).items():
        if key not in filled and "default" in part:
            filled[key] = copy.deepcopy(part["default"])
        if key in filled:
            filled[key] = _with_defaults(filled[key], part)
    return filled


def _explain(error: Any) -> str:
    """One sentence: which key, what it is, what was expected."""
    key = ".".join(map(str, error.absolute_path)) or "the configuration"
    if error.validator == "additionalProperties":
        known = ", ".join(sorted(error.schema.get("properties", {})))
        return f"{key}: {error.message.split(' (')[-1].rstrip(')')} as keys; known keys are {known}."
    if error.validator == "oneOf":
        kinds = ", ".join(option["required"][0] for option in error.validator_value)
        return f"{key} must have exactly one of the keys {kinds}; it has {', '.join(sorted(error.instance)) or 'none'}."
    description = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
    return f"{key} in the configuration is wrong: {error.message}. {description}".strip()


def existing(path: str) -> Path:
    """A path of the configuration: relative to the working directory if it is there, else to the workflow's root."""
    given = Path(path).expanduser()
    return given if given.is_absolute() or given.exists() else ROOT / given
