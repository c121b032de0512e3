"""Rule race_candidates: which candidates are measured on all items."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.search.race import race

    survivors, heats = race(run.rows("candidates"), run.rows("archive"), run.rows("heats"), run.params["search"])
    run.write("survivors", survivors)
    run.write("heats", heats)
