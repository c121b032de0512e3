"""Rule evaluate_front: measure the front and the picks on the report split, which the search never saw."""

from llamanas.job import job

with job(snakemake) as run, run.device() as device:
    from llamanas.search.evaluate import measure
    from llamanas.search.judge import Judge
    from llamanas.select.front import objectives, to_report

    search, compute = run.params["search"], run.params["compute"]
    rows = run.rows("expected")
    if search["algorithm"] != "replay":  # where all were on the front of another run, or at least published
        rows = to_report(rows, run.params["picks"], *objectives(search))
    questions = [row for row in run.rows("questions") if row["split"] == "report"]
    folder = run.source("weights")
    measured = measure(folder, device, compute, rows, questions, run.resume)
    judge = Judge(questions, run.params["metric"])
    run.write("answers", [row for each in measured for row in judge.answers(*each)])
