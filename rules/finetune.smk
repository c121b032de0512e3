"""Fine-tuning of the full network, the examples for it, and what layers, channels and heads are worth."""

WRITTEN = (
    {"written": RESULTS / "instructions/written.parquet"}
    if config["instructions"]["self_examples"]
    else {}
)


rule write_examples:
    input:
        weights=rules.fetch_model.output.weights,
        manifest=rules.fetch_model.output.manifest,
    output:
        written=RESULTS / "instructions/written.parquet",
    log:
        LOGS / "write_examples.log",
    benchmark:
        LOGS / "write_examples.tsv"
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=GPU,
        mem_mb=memory("write_examples"),
        runtime=runtime("write_examples"),
    params:
        **SHARED,
        version=2,
        self_examples=config["instructions"]["self_examples"],
        max_tokens=config["instructions"]["max_tokens"],
    script:
        "../workflow/scripts/write_examples.py"


rule fetch_instructions:
    input:
        **WRITTEN,
        manifest=rules.fetch_model.output.manifest,
        questions=expand(rules.fetch_task.output.questions, task=config["tasks"]),
    output:
        instructions=RESULTS / "instructions/instructions.parquet",
    log:
        LOGS / "fetch_instructions.log",
    benchmark:
        LOGS / "fetch_instructions.tsv"
    conda:
        "../envs/models.yaml"
    params:
        **SHARED,
        version=2,
        instructions=config["instructions"],
        data=DATA,
    script:
        "../workflow/scripts/fetch_instructions.py"


rule finetune:
    input:
        weights=rules.fetch_model.output.weights,
        manifest=rules.fetch_model.output.manifest,
        instructions=rules.fetch_instructions.output.instructions,
    output:
        weights=RESULTS / "finetune/model.safetensors",
        manifest=RESULTS / "finetune/manifest.parquet",
        losses=RESULTS / "finetune/losses.parquet",
    log:
        LOGS / "finetune.log",
    benchmark:
        LOGS / "finetune.tsv"
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=TRAINING_GPUS,
        mem_mb=memory("finetune"),
        runtime=runtime("finetune"),
    params:
        **SHARED,
        **TOGETHER,
        version=5,
        finetune=config["finetune"],
    script:
        "../workflow/scripts/finetune.py"


rule rank_importance:
    input:
        weights=RESULTS / "{stage}/model.safetensors",
        manifest=RESULTS / "{stage}/manifest.parquet",
        instructions=rules.fetch_instructions.output.instructions,
    output:
        importance=RESULTS / "{stage}/importance.parquet",
    log:
        LOGS / "rank_importance/{stage}.log",
    benchmark:
        LOGS / "rank_importance/{stage}.tsv"
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=GPU,
        mem_mb=memory("rank_importance"),
        runtime=runtime("rank_importance"),
    params:
        **SHARED,
        version=4,
        importance=config["importance"],
        space=config["space"],
    script:
        "../workflow/scripts/rank_importance.py"
