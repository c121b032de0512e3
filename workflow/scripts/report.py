"""Rule report: the summary table, the figures and the page."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.report.write import write_report

    write_report(run)
