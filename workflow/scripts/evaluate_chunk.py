"""Rule evaluate_chunk: measure one part of a generation's candidates on the search split."""

from llamanas.job import job

with job(snakemake) as run:
    number, of = map(int, run.wildcards.scatteritem.split("-of-"))
    candidates = run.rows("candidates")[number - 1 :: of]
    rows = []
    if candidates:  # a converged search proposes none
        with run.device() as device:
            from llamanas.search.evaluate import load_and_score

            questions = [row for row in run.rows("questions") if row["split"] == "search"]
            folder, compute = run.path("weights").parent, run.params["compute"]
            rows = load_and_score(folder, device, compute, candidates, questions, run.params["metric"], run.resume)
    run.write("scores", rows)
