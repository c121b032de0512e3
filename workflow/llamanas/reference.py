"""The table of all settings in config/README.md, generated from the schema: `python -m llamanas.reference`."""

import json

import yaml

from llamanas.settings import ROOT, SCHEMA

PAGE = ROOT / "config/README.md"
START, END = "<!-- settings: python -m llamanas.reference -->", "<!-- end of settings -->"


def rows(schema: dict, path: str = "") -> list[str]:
    """A Markdown table row for every setting below this part of the schema."""
    found = []
    for key, part in schema.get("properties", {}).items():
        name = f"{path}{key}"
        if part.get("properties") and name != "model.source":
            found += rows(part, f"{name}.")
        else:
            default = json.dumps(part["default"]) if "default" in part else ""
            cells = f"`{name}`", _kind(part), f"`{default}`" if default else "", part["description"]
            found.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return found


def _kind(part: dict) -> str:
    if "enum" in part:
        return " or ".join(f"`{choice if isinstance(choice, str) else json.dumps(choice)}`" for choice in part["enum"])
    kind = part.get("type", "")
    return " or ".join(kind) if isinstance(kind, list) else kind


def page() -> str:
    """config/README.md with its table of settings made anew."""
    text = PAGE.read_text()
    before, rest = text.split(START)
    after = rest.split(END)[1]
    table = [
        "| key | type | default | meaning |",
        "| --- | --- | --- | --- |",
        *rows(yaml.safe_load(SCHEMA.read_text())),
    ]
    return before + "\n".join([START, "", *table, "", END]) + after


if __name__ == "__main__":
    PAGE.write_text(page())
