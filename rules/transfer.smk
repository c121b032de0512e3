"""Every task's picks measured on every task."""


rule evaluate_transfer:
    input:
        picks=expand(rules.select_front.output.picks, task=config["tasks"]),
        questions=rules.fetch_task.output.questions,
        weights=rules.build_supernet.output.weights,
        manifest=rules.build_supernet.output.manifest,
        config=rules.build_supernet.output.config,
    output:
        transfer=RESULTS / "transfer/{task}.parquet",
    log:
        LOGS / "evaluate_transfer/{task}.log",
    benchmark:
        LOGS / "evaluate_transfer/{task}.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        gpu=GPU,
        mem_mb=memory("evaluate_transfer"),
        runtime=runtime("evaluate_transfer"),
    params:
        **SHARED,
        version=2,
        metric=config["data"]["metric"],
        tasks=config["tasks"],
        select=config["select"],
        dtype=config["model"]["dtype"],
    script:
        "../workflow/scripts/evaluate_transfer.py"
