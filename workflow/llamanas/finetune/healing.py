"""What healing changes: a pick's accuracy on the report split before and after it."""

import tempfile
from pathlib import Path
from statistics import fmean

from llamanas.architecture import Architecture
from llamanas.models.families import read_config, shape_of
from llamanas.randomness import generator
from llamanas.search.evaluate import measure
from llamanas.search.judge import Judge
from llamanas.select.statistics import paired_difference, wilson_interval


def healing_row(
    before: Path, after: Path, architecture: Architecture, questions: list[dict], params: dict, device: str
) -> dict:
    """Columns of artifact ``healing``: accuracies of one sub-network in two folders of weights, and their difference.

    ``full_difference`` is that of the healed one from the full network of the super-network. ``params`` are the
    rule's: metric, confidence, bootstrap, compute and seed.
    """
    shape, judge = shape_of(read_config(before / "config.json")), Judge(questions, params["metric"])

    def credits(folder: Path, networks: list[Architecture]) -> list[list[float]]:
        with tempfile.TemporaryDirectory() as resume:
            candidates = [network.row(shape, 4) for network in networks]
            measured = measure(folder, device, params["compute"], candidates, questions, Path(resume))
        values = {network.id: array for network, array in measured}
        return [judge(values[network.id]).credit.tolist() for network in networks]

    full, was = credits(before, [shape.full, architecture])
    (healed,) = credits(after, [architecture])
    row = {"architecture": architecture.id, "parameters": architecture.parameters(shape), "n": len(questions)}
    for name, credit in (("before", was), ("after", healed)):
        interval = wilson_interval(sum(credit), len(credit), params["confidence"])
        row |= dict(zip((f"{name}_ci_low", f"{name}_ci_high"), interval, strict=True))
        row[f"accuracy_{name}"] = fmean(credit)
    for name, reference in (("difference", was), ("full_difference", full)):
        draws = generator(params["seed"], "healing", architecture.id)
        about = params["confidence"], params["bootstrap"], draws
        row[name], row[f"{name}_ci_low"], row[f"{name}_ci_high"] = paired_difference(healed, reference, *about)
    return row
