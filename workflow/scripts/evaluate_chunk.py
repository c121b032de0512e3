"""Rule evaluate_chunk: measure one part of a generation's candidates, or of what racing left, on the search split."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.search.judge import Judge
    from llamanas.search.race import joined
    from llamanas.search.trie import contiguous_part

    rows = run.rows("survivors" if "survivors" in run.input.keys() else "candidates")
    candidates = contiguous_part(rows, *map(int, run.wildcards.scatteritem.split("-of-")))
    heats = run.rows("heats")
    answered = {row["item"] for row in heats}
    questions = [row for row in run.rows("questions") if row["split"] == "search" and row["item"] not in answered]
    measured = []
    if candidates:  # a converged search proposes none
        with run.device() as device:
            from llamanas.search.evaluate import measure

            folder, compute = run.source("weights"), run.params["compute"]
            measured = measure(folder, device, compute, candidates, questions, run.resume)
    answers, scores = joined(Judge(questions, run.params["metric"]), measured, heats)
    if "answers" in run.output.keys():
        run.write("answers", answers)
    run.write("scores", scores)
