"""The super-network: trained together with its sub-networks, channels and heads by importance, the space of them."""


rule train_supernet:
    input:
        weights=rules.finetune.output.weights,
        manifest=rules.finetune.output.manifest,
        importance=RESULTS / "finetune/importance.parquet",
        instructions=rules.fetch_instructions.output.instructions,
    output:
        weights=RESULTS / "train_supernet/model.safetensors",
        manifest=RESULTS / "train_supernet/manifest.parquet",
        losses=RESULTS / "train_supernet/losses.parquet",
    log:
        LOGS / "train_supernet.log",
    benchmark:
        LOGS / "train_supernet.tsv"
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=TRAINING_GPUS,
        mem_mb=memory("train_supernet"),
        runtime=runtime("train_supernet"),
    params:
        **SHARED,
        **TOGETHER,
        version=4,
        supernet=config["supernet"],
        space=config["space"],
    script:
        "../workflow/scripts/train_supernet.py"


rule build_supernet:
    input:
        weights=rules.train_supernet.output.weights,
        manifest=rules.train_supernet.output.manifest,
        importance=RESULTS / "train_supernet/importance.parquet",
    output:
        weights=RESULTS / "supernet/model.safetensors",
        config=RESULTS / "supernet/config.json",
        manifest=RESULTS / "supernet/manifest.parquet",
        importance=RESULTS / "supernet/importance.parquet",
        space=RESULTS / "supernet/space.parquet",
    log:
        LOGS / "build_supernet.log",
    benchmark:
        LOGS / "build_supernet.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=memory("build_supernet"),
        runtime=runtime("build_supernet"),
    params:
        **SHARED,
        version=2,
        space=config["space"],
    script:
        "../workflow/scripts/build_supernet.py"
