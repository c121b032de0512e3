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

from llamanas import failures, leftovers, settings
from llamanas.devices import (
    ONNX_ON_GPU,
    check_gpus,
    check_runtimes,
    portable_kernels,
    visible_gpus,
)
from llamanas.errors import LlamaNasError
from llamanas.quantize.recipes import FLOAT, MEASURED
from llamanas.resources import known_model, memory_mb, runtime_minutes
from llamanas.search.replay import counted
from llamanas.slurm import cancel_leftovers


configfile: ROOT / "config/config.yaml"


try:
    config = counted(settings.complete(config))
except LlamaNasError as error:
    raise WorkflowError(str(error)) from None


if workflow.is_main_process:
    HELD = leftovers.take(Path.cwd())
    if mended := leftovers.mend_times(Path(config["results"])):
        print(f"{mended} files were dated in the future: set to now", file=sys.stderr)


report: "workflow/report/workflow.rst"


scattergather:
    chunks=config["search"]["chunks"],


include: "rules/common.smk"
include: "rules/fetch.smk"
include: "rules/finetune.smk"
include: "rules/supernet.smk"
include: "rules/search.smk"
include: "rules/select.smk"
include: "rules/transfer.smk"
include: "rules/heal.smk"
include: "rules/baselines.smk"
include: "rules/quantize.smk"
include: "rules/benchmark.smk"
include: "rules/gguf.smk"
include: "rules/report.smk"


onstart:
    cancel_leftovers(Path.cwd())


onerror:
    print(*failures.summary(log), sep="\n", file=sys.stderr)


rule all:
    default_target: True
    input:
        rules.report.output,
        VARIANTS,
        GGUF_FILES,
        GGUF_ACCURACY,
        rules.record_run.output,
        expand(rules.select_front.output, task=config["tasks"]),
