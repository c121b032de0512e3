"""Rule baselines: one table of all methods and sizes, and of what they are compared with."""

from llamanas.job import job

with job(snakemake) as run:
    rows = run.rows("baselines")
    run.write("baselines", sorted(rows, key=lambda row: (row["task"], row["method"], row["parameters"])))
