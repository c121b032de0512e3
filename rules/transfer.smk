"""Every task's picks measured on every task; made by `snakemake transfer` alone."""


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
        mem_mb=memory(3, SHARED_MB),
        runtime=120,
    params:
        **SHARED,
        version=1,
        metric=config["data"]["metric"],
        tasks=config["tasks"],
        select=config["select"],
        dtype=config["model"]["dtype"],
    script:
        "../workflow/scripts/evaluate_transfer.py"


rule transfer:
    input:
        transfer=expand(rules.evaluate_transfer.output.transfer, task=config["tasks"]),
        front=expand(rules.select_front.output.front, task=config["tasks"]),
        config=rules.build_supernet.output.config,
    output:
        transfer=RESULTS / "transfer.parquet",
        matrix=RESULTS / "transfer/matrix.svg",
        layers=RESULTS / "transfer/layers.svg",
    log:
        LOGS / "transfer.log",
    benchmark:
        LOGS / "transfer.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory(1),
        runtime=10,
    params:
        **SHARED,
        version=1,
        tasks=config["tasks"],
    script:
        "../workflow/scripts/transfer.py"
