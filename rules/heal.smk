"""A short training of each exported pick alone, and what it changes."""


rule heal:
    input:
        picks=picks_of,
        supernet=rules.build_supernet.output.weights,
        supernet_manifest=rules.build_supernet.output.manifest,
        config=rules.build_supernet.output.config,
        teacher=rules.finetune.output.weights,
        instructions=rules.fetch_instructions.output.instructions,
    output:
        weights=RESULTS / "heal/{task}/{pick}/model.safetensors",
        manifest=RESULTS / "heal/{task}/{pick}/manifest.parquet",
        losses=RESULTS / "heal/{task}/{pick}/losses.parquet",
    log:
        LOGS / "heal/{task}/{pick}.log",
    benchmark:
        LOGS / "heal/{task}/{pick}.tsv"
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=TRAINING_GPUS,
        mem_mb=memory("heal"),
        runtime=runtime("heal"),
    params:
        **SHARED,
        **TOGETHER,
        version=3,
        heal=config["heal"],
    script:
        "../workflow/scripts/heal.py"


rule measure_healing:
    input:
        picks=picks_of,
        before=rules.build_supernet.output.weights,
        before_manifest=rules.build_supernet.output.manifest,
        after=rules.heal.output.weights,
        after_manifest=rules.heal.output.manifest,
        questions=rules.fetch_task.output.questions,
    output:
        healing=RESULTS / "heal/{task}/{pick}/healing.parquet",
    log:
        LOGS / "measure_healing/{task}/{pick}.log",
    benchmark:
        LOGS / "measure_healing/{task}/{pick}.tsv"
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=GPU,
        mem_mb=memory("measure_healing"),
        runtime=runtime("measure_healing"),
    params:
        **SHARED,
        version=1,
        metric=config["data"]["metric"],
        confidence=config["select"]["confidence"],
        bootstrap=config["select"]["bootstrap"],
    script:
        "../workflow/scripts/measure_healing.py"
