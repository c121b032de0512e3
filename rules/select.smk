"""From the last archive to the front and the picks, with accuracies of the report split."""


SEARCHED = dict(
    archive=RESULTS / "search/{task}" / f"generation-{GENERATIONS}" / "archive.parquet",
    importance=rules.build_supernet.output.importance,
    config=rules.build_supernet.output.config,
)


rule evaluate_front:
    input:
        **SEARCHED,
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
        version=4,
        metric=config["data"]["metric"],
        search=SEARCH,
        space=config["space"],
        expected=config["select"]["expected"],
        picks=config["select"]["picks"],
    script:
        "../workflow/scripts/evaluate_front.py"


rule select_front:
    input:
        **SEARCHED,
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
        version=2,
        search=SEARCH,
        space=config["space"],
        expected=config["select"]["expected"],
        select=config["select"],
    script:
        "../workflow/scripts/select_front.py"
