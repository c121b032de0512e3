"""Rule record_run: the report's folder as a Workflow Run RO-Crate, and a list of all files of the run."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.report.crate import record_run

    record_run(run)
