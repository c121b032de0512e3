"""The super-network: channels in order of importance, and the space of its sub-networks."""


rule build_supernet:
    input:
        weights=rules.finetune.output.weights,
        manifest=rules.finetune.output.manifest,
        importance=RESULTS / "finetune/importance.parquet",
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
        mem_mb=memory(3),
        runtime=30,
    params:
        **SHARED,
        version=1,
        space=config["space"],
    script:
        "../workflow/scripts/build_supernet.py"
