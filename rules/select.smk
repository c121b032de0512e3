"""From the last archive to the front and the picks, with accuracies of the report split."""


rule expect_scores:
    input:
        archive=RESULTS
        / "search/{task}"
        / f"generation-{GENERATIONS}"
        / "archive.parquet",
        importance=rules.build_supernet.output.importance,
        config=rules.build_supernet.output.config,
        manifest=rules.build_supernet.output.manifest,
    output:
        expected=RESULTS / "search/{task}/expected.parquet",
    log:
        LOGS / "expect_scores/{task}.log",
    benchmark:
        LOGS / "expect_scores/{task}.tsv"
    conda:
        "../envs/tables.yaml"
    resources:
        mem_mb=memory("expect_scores"),
        runtime=runtime("expect_scores"),
    params:
        **SHARED,
        version=3,
        search=SEARCH,
        space=config["space"],
        smooth=config["select"]["expected"],
    script:
        "../workflow/scripts/expect_scores.py"


rule evaluate_front:
    input:
        expected=rules.expect_scores.output.expected,
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
        picks=config["select"]["picks"],
    script:
        "../workflow/scripts/evaluate_front.py"


rule select_front:
    input:
        expected=rules.expect_scores.output.expected,
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
        select=config["select"],
    script:
        "../workflow/scripts/select_front.py"
