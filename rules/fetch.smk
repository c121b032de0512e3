"""What comes from outside: base model, tasks, instructions, networks of another run. Only here is the network used."""


localrules:
    fetch_model,
    fetch_task,
    fetch_instructions,
    fetch_published,


rule fetch_model:
    output:
        manifest=RESULTS / "model/manifest.parquet",
        weights=RESULTS / "model/model.safetensors",
        config=RESULTS / "model/config.json",
    log:
        LOGS / "fetch_model.log",
    benchmark:
        LOGS / "fetch_model.tsv"
    conda:
        "../envs/models.yaml"
    params:
        **SHARED,
        version=1,
        source={
            kind: value
            for kind, value in config["model"]["source"].items()
            if kind != "license"
        },
        dtype=config["model"]["dtype"],
        trust_remote_code=config["model"]["trust_remote_code"],
        downloads=config["downloads"],
    script:
        "../workflow/scripts/fetch_model.py"


rule fetch_task:
    input:
        manifest=rules.fetch_model.output.manifest,
    output:
        questions=RESULTS / "tasks/{task}/questions.parquet",
    log:
        LOGS / "fetch_task/{task}.log",
    benchmark:
        LOGS / "fetch_task/{task}.tsv"
    conda:
        "../envs/models.yaml"
    params:
        **SHARED,
        version=3,
        data=DATA,
        members=lambda wildcards: config["groups"].get(wildcards.task, [wildcards.task]),
    script:
        "../workflow/scripts/fetch_task.py"


rule fetch_published:
    input:
        config=rules.fetch_model.output.config,
    output:
        published=RESULTS / "search/{task}/published.parquet",
    log:
        LOGS / "fetch_published/{task}.log",
    benchmark:
        LOGS / "fetch_published/{task}.tsv"
    conda:
        "../envs/tables.yaml"
    params:
        **SHARED,
        version=1,
        replay=config["search"]["replay"],
        space=config["space"],
    script:
        "../workflow/scripts/fetch_published.py"
