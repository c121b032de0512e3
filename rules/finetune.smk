"""Ranking and the one fine-tuning of the super-network."""


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
        mem_mb=memory(3),
        runtime=60,
    params:
        **SHARED,
        version=1,
        importance=config["importance"],
        space=config["space"],
        # Before the fine-tune only the order of the channels is needed.
        sensitivities=lambda wildcards: wildcards.stage == "finetune",
    script:
        "../workflow/scripts/rank_importance.py"


rule finetune:
    input:
        weights=rules.fetch_model.output.weights,
        manifest=rules.fetch_model.output.manifest,
        importance=RESULTS / "model/importance.parquet",
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
        gpu=GPU,
        mem_mb=memory(5),
        runtime=720,
    params:
        **SHARED,
        version=1,
        finetune=config["finetune"],
        space=config["space"],
    script:
        "../workflow/scripts/finetune.py"
