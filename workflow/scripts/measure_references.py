"""Rule measure_references: the networks that the baselines are compared with."""

from llamanas.job import job

with job(snakemake) as run, run.device() as device:
    from llamanas.baselines.measure import reference_rows

    run.write("baselines", reference_rows(run, device))
