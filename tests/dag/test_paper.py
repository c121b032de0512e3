"""The published experiment is planned as far as it is known, and the documentation draws the rules as they are."""

import re

import yaml

from llamanas import rulegraph, settings
from workflow_runner import ROOT, planned_jobs, snakemake

CONFIG = ROOT / "config/llama2-7b.yaml"


def test_published_experiment_is_planned(tmp_path):
    run = snakemake(tmp_path, "-n", "--configfile", str(CONFIG))
    assert run.returncode == 0, run.stdout[-3000:]
    plan = planned_jobs(run.stdout)
    assert plan["fetch_task"] == 5 and plan["evaluate_chunk"] == 5 * 5 and plan["record_run"] == 1


def test_published_experiment_measures_250_networks_for_each_task():
    config = settings.complete(yaml.safe_load(CONFIG.read_text()))
    search = config["search"]
    assert search["population"] * (1 + search["generations"]) == 250 and search["algorithm"] == "linas"
    assert 11008 // 2 in config["space"]["intermediate_sizes"] and config["space"]["minimum_depth"] * 32 == 24


def test_every_section_of_the_published_experiment_says_how_it_is_known():
    """Each block of settings between blank lines holds a mark."""
    for block in CONFIG.read_text().split("\n\n")[1:]:
        assert re.search(r"verified|second-hand|ours", block), block


def test_graph_of_rules_is_current():
    assert rulegraph.page() == rulegraph.PAGE.read_text(), "run: python -m llamanas.rulegraph"


def test_catalog_file_names_what_is_there():
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())
    assert catalog["usage"]["report"] and catalog["usage"]["software-stack-deployment"]["conda"]
    assert (ROOT / "workflow/Snakefile").exists() and list((ROOT / "envs").glob("*.yaml"))


def test_linked_files_of_the_documentation_exist():
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", rulegraph.PAGE.read_text())
    local = [link for link in links if "://" not in link]
    assert local and all((rulegraph.PAGE.parent / link).exists() for link in local), local


def test_named_files_of_the_documentation_exist():
    text = rulegraph.PAGE.read_text()
    package = ROOT / "workflow/llamanas"
    for name in re.findall(r"`((?:models|export|supernet|quantize|report)/[a-z_/]*(?:\.py)?)`", text):
        assert (package / name).exists(), name
