"""Rule collect_generation: the archive of all architectures measured so far."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.search.collect import collect
    from llamanas.search.race import dropped_rows

    archive, candidates, scores = run.rows("archive"), run.rows("candidates"), run.rows("scores")
    dropped = dropped_rows(candidates, archive, scores, run.rows("heats")) if "heats" in run.input.keys() else []
    run.write("archive", collect(archive, candidates, [*scores, *dropped]))
