"""What the picks are compared with; published pruning methods are trained by `snakemake baselines` alone."""

# Which methods and sizes there are changes nothing in one of them.
BASELINE = {
    key: value
    for key, value in config["baselines"].items()
    if key not in ("methods", "ratios")
}


rule train_baseline:
    input:
        weights=rules.finetune.output.weights,
        manifest=rules.finetune.output.manifest,
        importance=RESULTS / "finetune/importance.parquet",
        instructions=rules.fetch_instructions.output.instructions,
        questions=expand(rules.fetch_task.output.questions, task=config["tasks"]),
    output:
        baselines=RESULTS / "baselines/{method}/{ratio}/baselines.parquet",
        losses=RESULTS / "baselines/{method}/{ratio}/losses.parquet",
    log:
        LOGS / "train_baseline/{method}/{ratio}.log",
    benchmark:
        LOGS / "train_baseline/{method}/{ratio}.tsv"
    wildcard_constraints:
        method="[a-z_]+",
        ratio=r"\d+(\.\d+)?",
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=TRAINING_GPUS,
        mem_mb=memory("train_baseline"),
        runtime=runtime("train_baseline"),
    params:
        **SHARED,
        **TOGETHER,
        version=3,
        baselines=BASELINE,
        importance=config["importance"],
        space=config["space"],
        metric=config["data"]["metric"],
        confidence=config["select"]["confidence"],
    script:
        "../workflow/scripts/train_baseline.py"


rule measure_references:
    input:
        model=rules.fetch_model.output.weights,
        finetune=rules.finetune.output.weights,
        supernet=rules.build_supernet.output.weights,
        importance=rules.build_supernet.output.importance,
        losses=rules.train_supernet.output.losses,
        questions=expand(rules.fetch_task.output.questions, task=config["tasks"]),
    output:
        baselines=RESULTS / "baselines/references.parquet",
    log:
        LOGS / "measure_references.log",
    benchmark:
        LOGS / "measure_references.tsv"
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=GPU,
        mem_mb=memory("measure_references"),
        runtime=runtime("measure_references"),
    params:
        **SHARED,
        version=2,
        ratios=config["baselines"]["ratios"],
        space=config["space"],
        metric=config["data"]["metric"],
        confidence=config["select"]["confidence"],
    script:
        "../workflow/scripts/measure_references.py"


rule baselines:
    input:
        baselines=[
            rules.measure_references.output.baselines,
            *expand(
                rules.train_baseline.output.baselines,
                method=config["baselines"]["methods"],
                ratio=config["baselines"]["ratios"],
            ),
        ],
    output:
        baselines=RESULTS / "baselines.parquet",
    log:
        LOGS / "baselines.log",
    benchmark:
        LOGS / "baselines.tsv"
    conda:
        "../envs/tables.yaml"
    resources:
        mem_mb=memory("baselines"),
        runtime=runtime("baselines"),
    params:
        **SHARED,
        version=1,
    script:
        "../workflow/scripts/baselines.py"
