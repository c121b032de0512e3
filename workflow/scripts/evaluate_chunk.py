"""Rule evaluate_chunk: measure one part of a generation's candidates on the search split."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.search.judge import Judge
    from llamanas.search.trie import contiguous_part

    candidates = contiguous_part(run.rows("candidates"), *map(int, run.wildcards.scatteritem.split("-of-")))
    questions = [row for row in run.rows("questions") if row["split"] == "search"]
    measured = []
    if candidates:  # a converged search proposes none
        with run.device() as device:
            from llamanas.search.evaluate import measure

            folder, compute = run.source("weights"), run.params["compute"]
            measured = measure(folder, device, compute, candidates, questions, run.resume)
    judge = Judge(questions, run.params["metric"])
    if "answers" in run.output.keys():
        run.write("answers", [row for each in measured for row in judge.answers(*each)])
    run.write("scores", [judge.means(*each) for each in measured])
