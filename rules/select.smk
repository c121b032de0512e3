"""From the last archive to the front and the picks, with accuracies of the report split."""


rule evaluate_front:
    input:
        archive=RESULTS
        / "search/{task}"
        / f"generation-{GENERATIONS}"
        / "archive.parquet",
        questions=rules.fetch_task.output.questions,
        weights=rules.build_supernet.output.weights,
        manifest=rules.build_supernet.output.manifest,
    output:
        answers=RESULTS / "search/{task}/answers.parquet",
    log:
        LOGS / "evaluate_front/{task}.log",
    benchmark:
        LOGS / "evaluate_front/{task}.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        gpu=GPU,
        mem_mb=memory("evaluate_front"),
        runtime=runtime("evaluate_front"),
    params:
        **SHARED,
        version=3,
        metric=config["data"]["metric"],
        search=SEARCH,
        picks=config["select"]["picks"],
    script:
        "../workflow/scripts/evaluate_front.py"


rule select_front:
    input:
        archive=rules.evaluate_front.input.archive,
        answers=rules.evaluate_front.output.answers,
    output:
        front=RESULTS / "search/{task}/front.parquet",
        picks=RESULTS / "search/{task}/picks.parquet",
    log:
        LOGS / "select_front/{task}.log",
    benchmark:
        LOGS / "select_front/{task}.tsv"
    conda:
        "../envs/tables.yaml"
    resources:
        mem_mb=memory("select_front"),
        runtime=runtime("select_front"),
    params:
        **SHARED,
        version=1,
        search=SEARCH,
        select=config["select"],
    script:
        "../workflow/scripts/select_front.py"
