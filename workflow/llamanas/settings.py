"""The experiment's configuration: checked against the schema, defaults filled in. Imported while Snakemake parses."""

import copy
import math
import string
from functools import cache
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
    from jsonschema.validators import extend

    _require_plain(config)
    schema = _schema()
    config = _with_defaults(config, schema)
    _drop_replaced_sources(config["model"])
    # 8.0 is an integer to JSON Schema, but not to range().
    whole = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    validator = extend(Draft202012Validator, type_checker=whole)(schema)
    error = best_match(validator.iter_errors(config), key=lambda e: -len(e.path))
    if error is not None:
        raise LlamaNasError(_explain(error))
    _require_picks(config["select"]["picks"], config["export"]["picks"])
    results = Path(config["results"]).parts
    if ".." in results or results[0] == "logs":
        raise LlamaNasError(
            "results must be a folder below the working directory, and not that of the logs; use --directory to work "
            "elsewhere."
        )
    _require_template(config["instructions"]["template"])
    _complete_replay(config["search"])
    quantize = config["quantize"]
    quantize["recipes"] = complete_recipes(quantize["recipes"], config["export"]["precisions"])
    return config


@cache
def _schema() -> dict:
    schema: dict = yaml.safe_load(SCHEMA.read_text())
    return schema


def _require_plain(value: Any, key: str = "") -> None:
    """Refuse what no setting can be: keys that are no text, infinite numbers, unprintable text, dates.

    Raises:
        LlamaNasError: with the key.
    """
    where = _short(key) or "the configuration"
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str) or not name.isprintable():
                raise LlamaNasError(f"{where} has the key {_short(repr(name))}; expected a setting's name, as text.")
            _require_plain(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            _require_plain(inner, f"{key}.{place}")
    elif isinstance(value, str):
        if "\0" in value or value != value.encode(errors="ignore").decode():
            raise LlamaNasError(f"{where} in the configuration holds characters that no file or name can have.")
    elif isinstance(value, float) and not math.isfinite(value) or isinstance(value, int) and abs(value) >= 2**63:
        raise LlamaNasError(f"{where} in the configuration is {_short(str(value))}; expected a finite number.")
    elif not isinstance(value, int | float | None):
        raise LlamaNasError(f"{where} in the configuration is a {type(value).__name__}, which no setting is; quote it.")


def _drop_replaced_sources(model: Any) -> None:
    """Forget the kinds of source that are null: Snakemake merges files, so that a later one can take away no key."""
    if isinstance(model, dict) and isinstance(model["source"], dict):
        model["source"] = {key: value for key, value in model["source"].items() if value is not None}


def _require_picks(picks: dict[str, dict], exported: list[str]) -> None:
    """Refuse picks that contradict each other.

    Raises:
        LlamaNasError: an exported pick is not defined, a rule lacks its number, or full is another network.
    """
    if unknown := sorted({*exported} - picks.keys()):
        raise LlamaNasError(f"export.picks names {unknown}, which select.picks does not define; it defines {[*picks]}.")
    for name, rule in picks.items():
        needed = {"smallest_within": "points", "cost_share": "share"}.get(rule["rule"])
        if needed and needed not in rule:
            raise LlamaNasError(f"select.picks.{name}: rule {rule['rule']!r} needs the number {needed!r}.")
    if "full" in picks and picks["full"]["rule"] != "full":
        raise LlamaNasError("select.picks.full must have rule 'full': that name is the full network's everywhere.")


def _require_template(template: str) -> None:
    """Refuse a template of examples with other fields than instruction and input.

    Raises:
        LlamaNasError: with the field, or what is wrong with the braces.
    """
    try:
        parts = [*string.Formatter().parse(template)]
    except ValueError as error:
        raise LlamaNasError(f"instructions.template is no template: {error}; braces of its own are doubled.") from error
    for _, field, form, conversion in parts:
        if field not in (None, "instruction", "input") or form or conversion:
            raise LlamaNasError(f"instructions.template has the field {field!r}; expected instruction and input alone.")


def _complete_replay(search: dict) -> None:
    """Leave algorithm replay one generation.

    Raises:
        LlamaNasError: it lacks networks to measure, or would leave some out; or another algorithm is given such
            networks.
    """
    if (search["algorithm"] == "replay") != (search["replay"] is not None):
        raise LlamaNasError(
            f"search.algorithm is {search['algorithm']!r} and search.replay is {search['replay']!r}; to measure the "
            "networks of another run again, set the former to 'replay' and the latter to its table of them, else leave "
            "both out."
        )
    if search["algorithm"] != "replay":
        return
    limits = [f"search.limits.{name}" for name, bounds in search["limits"].items() if bounds]
    if unfit := limits + ["search.racing"] * search["racing"]:
        raise LlamaNasError(
            f"search.algorithm 'replay' measures every network in full; leave out {' and '.join(unfit)}, which "
            "would leave some out."
        )
    search["generations"] = 0


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
    key = _short(".".join(map(str, error.absolute_path))) or "the configuration"
    if error.validator == "additionalProperties":
        known = ", ".join(sorted(error.schema.get("properties", {})))
        return f"{key}: {_short(error.message.split(' (')[-1].rstrip(')'))} as keys; known keys are {known}."
    if error.validator == "oneOf":
        kinds = ", ".join(option["required"][0] for option in error.validator_value)
        return f"{key} must have exactly one of the keys {kinds}; it has {', '.join(sorted(error.instance)) or 'none'}."
    description = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
    return f"{key} in the configuration is wrong: {_short(error.message)}. {description}".strip()


def _short(text: str) -> str:
    """The text in one line, its middle left out where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:150]} … {text[-150:]}"


def existing(path: str) -> Path:
    """A path of the configuration: relative to the working directory if it is there, else to the workflow's root."""
    given = Path(path).expanduser()
    return given if given.is_absolute() or given.exists() else ROOT / given
