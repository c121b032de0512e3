"""Rule transfer: the table and the figures of every task's picks on every task."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.models.families import read_config, shape_of
    from llamanas.report.search import draw_layers, draw_transfer

    rows = run.rows("transfer")
    run.write("transfer", rows)
    run.path("matrix").write_text(draw_transfer(rows), encoding="utf-8")
    shape = shape_of(read_config(run.input["config"]))
    run.path("layers").write_text(draw_layers(run.by_task("front"), shape), encoding="utf-8")
