"""Rule evaluate_chunk: measure one part of a generation's candidates on the search split."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.search.judge import mean_scores
    from llamanas.search.trie import contiguous_part

    candidates = contiguous_part(run.rows("candidates"), *map(int, run.wildcards.scatteritem.split("-of-")))
    answers = []
    if candidates:  # a converged search proposes none
        with run.device() as device:
            from llamanas.search.evaluate import load_and_answer

            questions = [row for row in run.rows("questions") if row["split"] == "search"]
            folder, compute = run.path("weights").parent, run.params["compute"]
            answers = load_and_answer(folder, device, compute, candidates, questions, run.params["metric"], run.resume)
    if "answers" in run.output.keys():
        run.write("answers", answers)
    run.write("scores", mean_scores(answers))
