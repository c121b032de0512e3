"""LINAS of DyNAS-T 1.6.0, Intel's own code, driven from outside: it asks for values on standard output, line by line.

It runs in an environment of its own, which holds its search and none of its super-networks:

    python -m venv dynast
    dynast/bin/pip install "pymoo==0.6.2" "scikit-learn==1.9.1" "numpy==2.4.6" "pandas==3.1.1" autograd numba requests
    dynast/bin/pip install --no-deps dynast==1.6.0

The first line on standard input is a JSON object: `choices` (the number of choices of each layer), `population`,
`measurements` and `seed`. Every further line answers one on standard output, a JSON list of a choice per layer, with a
JSON list: the score to maximize, and the parameters.

What had to be changed for it to run at all, or to run a space that it does not know:

* The package's `__init__` and the modules of its super-networks are not imported (they need fairseq, torchvision and
  more); `search_tactic` finds empty ones in their place, and while it is imported an empty torch, which LINAS on one
  process does not use.
* The registry of super-networks is ours: one entry, under the name `vit_base_imagenet`, since LINAS's own if/elif chain
  knows no other names. A layer is one of its elastic parameters; its generic one-hot encoding, its csv file, its
  training of predictors and its inner loop (20,000 evaluations, as for BERT and ViT) are untouched.
* It has no constraints, so that a network with too few layers is answered as the repaired one is (by the parent).

What is as published, though a flaw: random first population without the full network, mutation of 2 % of the
offspring, no memory of what was measured (a network that is proposed again is measured and counted again), the size
predicted instead of computed, and the order of objectives by hash, which PYTHONHASHSEED fixes.
"""

import csv
import importlib.machinery
import json
import logging
import sys
import tempfile
import types
from pathlib import Path

import sklearn

NAME, METRICS = "vit_base_imagenet", ["params", "latency", "macs", "accuracy_top1"]
STUBS = {
    "dynast.supernetwork.image_classification.bootstrapnas.bootstrapnas_encoding": "BootstrapNASEncoding",
    "dynast.supernetwork.image_classification.bootstrapnas.bootstrapnas_interface": "BootstrapNASRunner",
    "dynast.supernetwork.image_classification.ofa.ofa_interface": "OFARunner",
    "dynast.supernetwork.machine_translation.transformer_interface": "TransformerLTRunner",
    "dynast.supernetwork.text_classification.bert_interface": "BertSST2Runner",
}


class Runner:
    """In place of a super-network's runner; keeps the predictors that LINAS trained."""

    def __init__(self, **given: object) -> None:
        self.predictors = {"params": given.get("params_predictor"), "accuracy_top1": given.get("acc_predictor")}


class Interface:
    """In place of a super-network's evaluation interface; measured values come from the parent."""

    def __init__(self, evaluator, manager, optimization_metrics, measurements, csv_path, predictor_mode=False) -> None:
        self.evaluator, self.manager, self.metrics = evaluator, manager, optimization_metrics
        self.csv_path, self.predictor_mode = csv_path, predictor_mode

    def format_csv(self, header: list[str]) -> None:
        with open(self.csv_path, "w") as file:
            csv.writer(file).writerow(header)

    def eval_subnet(self, x) -> tuple:
        sample = self.manager.translate2param(x)
        if self.predictor_mode:
            row = self.manager.onehot_generic(x).reshape(1, -1)
            values = {metric: self.evaluator.predictors[metric].predict(row)[0] for metric in self.metrics}
        else:
            score, parameters = ask([int(gene) for gene in x])
            values = {"params": parameters, "accuracy_top1": score}
            with open(self.csv_path, "a") as file:
                csv.writer(file).writerow([sample, "", parameters, 0, 0, score])
        values["accuracy_top1"] = -values["accuracy_top1"]
        return sample, *(values[metric] for metric in self.metrics)


def ask(genes: list[int]) -> list[float]:
    """What the parent says of a network."""
    sys.__stdout__.write(json.dumps(genes) + "\n")
    sys.__stdout__.flush()
    return json.loads(sys.stdin.readline())


def linas_class(choices: list[int]) -> type:
    """DyNAS-T's class LINAS, for a space with these numbers of choices."""
    package = _module("dynast")
    package.__path__ = list(importlib.machinery.PathFinder.find_spec("dynast").submodule_search_locations)
    for name, each in STUBS.items():
        setattr(_module(name), each, type(each, (), {}))
    _module("dynast.supernetwork.image_classification.vit.vit_interface").ViTRunner = Runner

    from dynast.search.encoding import EncodingBase
    from dynast.search.evolutionary import EvolutionaryManager  # noqa: F401  # libraries that would look for torch

    registry = _module("dynast.supernetwork.supernetwork_registry")
    parameters = {f"layer_{layer}": {"count": 1, "vars": [*range(count)]} for layer, count in enumerate(choices)}
    registry.SUPERNET_ENCODING, registry.SUPERNET_PARAMETERS = {NAME: EncodingBase}, {NAME: parameters}
    registry.EVALUATION_INTERFACE, registry.SUPERNET_METRICS = {NAME: Interface}, {NAME: METRICS}
    registry.LINAS_INNERLOOP_EVALS = {NAME: 20_000}
    registry.get_csv_header = lambda supernet: ["Sub-network", "Date", *METRICS]
    _module("torch").distributed = _module("torch.distributed")
    from dynast.search.search_tactic import LINAS

    del sys.modules["torch"], sys.modules["torch.distributed"]
    logging.getLogger().setLevel(logging.ERROR)
    return LINAS


def _module(name: str) -> types.ModuleType:
    """An empty module of this name, and of the packages above it where there are none."""
    parent, _, last = name.rpartition(".")
    if parent and parent not in sys.modules:
        _module(parent)
    return sys.modules.setdefault(name, types.ModuleType(last))


def main() -> None:
    request = json.loads(sys.stdin.readline())
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)  # no result changes; it asks one at a time
    linas = linas_class(request["choices"])
    sys.stdout = sys.stderr  # it prints dots
    with tempfile.TemporaryDirectory() as folder:
        linas(
            supernet=NAME,
            optimization_metrics=["params", "accuracy_top1"],
            measurements=["params", "accuracy_top1"],
            num_evals=request["measurements"],
            results_path=str(Path(folder) / "results.csv"),
            population=request["population"],
            seed=request["seed"],
        ).search()


if __name__ == "__main__":
    main()
