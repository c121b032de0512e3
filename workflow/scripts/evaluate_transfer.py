"""Rule evaluate_transfer: the picks of every task's search on one task's report split."""

from llamanas.job import job

with job(snakemake) as run, run.device() as device:
    from llamanas.models.families import bytes_per_parameter, read_config, shape_of
    from llamanas.search.evaluate import measure
    from llamanas.search.judge import Judge
    from llamanas.select.transfer import distinct, transfer_rows

    config, task = read_config(run.input["config"]), run.wildcards.task
    full = shape_of(config).full.row(shape_of(config), bytes_per_parameter(config, run.params["dtype"]))
    picks = run.by_task("picks")
    networks = {row["architecture"]: row for row in [full, *distinct(picks)]}
    questions = [row for row in run.rows("questions") if row["split"] == "report"]
    folder, judge = run.path("weights").parent, Judge(questions, run.params["metric"])
    measured = measure(folder, device, run.params["compute"], [*networks.values()], questions, run.resume)
    answers = [row for each in measured for row in judge.answers(*each)]
    select, seed = run.params["select"], run.seed(task)
    run.write("transfer", transfer_rows(task, picks, answers, full["architecture"], select, seed))
