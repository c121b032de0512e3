"""LLaMA-NAS: fine-tune a super-network once, search its sub-networks per task, export and measure the best."""

import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.11")

ROOT = Path(workflow.basedir)
if ROOT.name == "workflow":  # loaded as a module by the shim
    ROOT = ROOT.parent
sys.path.insert(0, str(ROOT / "workflow"))
# Jobs find the package as well in an environment of their own.
os.environ.update(
    PYTHONPATH=os.pathsep.join(
        filter(None, [str(ROOT / "workflow"), os.getenv("PYTHONPATH")])
    )
)

from llamanas import settings
from llamanas.devices import visible_gpus
from llamanas.errors import LlamaNasError


configfile: ROOT / "config/config.yaml"


try:
    config = settings.complete(config)
except LlamaNasError as error:
    raise WorkflowError(str(error)) from None


scattergather:
    chunks=config["search"]["chunks"],


include: "rules/common.smk"
include: "rules/fetch.smk"
include: "rules/finetune.smk"
include: "rules/supernet.smk"
include: "rules/search.smk"
include: "rules/select.smk"
include: "rules/heal.smk"
include: "rules/baselines.smk"
include: "rules/quantize.smk"
include: "rules/benchmark.smk"
include: "rules/gguf.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        rules.report.output,
        GGUF_FILES,
        GGUF_ACCURACY,
        expand(rules.select_front.output, task=config["tasks"]),
