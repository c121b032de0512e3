"""Rule evaluate_heat: measure one part of a generation's candidates on the items on which racing decides."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.search.judge import Judge
    from llamanas.search.race import split_items
    from llamanas.search.trie import contiguous_part

    candidates = contiguous_part(run.rows("candidates"), *map(int, run.wildcards.scatteritem.split("-of-")))
    questions = [row for row in run.rows("questions") if row["split"] == "search"]
    questions, _ = split_items(questions, run.params["share"])
    measured = []
    if candidates:  # a converged search proposes none
        with run.device() as device:
            from llamanas.search.evaluate import measure

            folder, compute = run.path("weights").parent, run.params["compute"]
            measured = measure(folder, device, compute, candidates, questions, run.resume)
    judge = Judge(questions, run.params["metric"])
    run.write("heats", [row for each in measured for row in judge.answers(*each)])
