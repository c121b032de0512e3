"""Rule collect_generation: the archive of all architectures measured so far."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.search.collect import collect

    archive = run.rows("archive")
    run.write("archive", collect(archive, run.rows("candidates"), run.rows("scores")))
