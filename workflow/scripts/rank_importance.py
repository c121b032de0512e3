"""Rule rank_importance: what each channel, each key-value head and each sub-layer is worth."""

from llamanas.job import job

with job(snakemake) as run, run.device() as device:
    from llamanas.models.decoder import load_decoder
    from llamanas.supernet.importance import calibration_batch, sensitivity_rows, unit_rows
    from llamanas.supernet.order import bands, order_units, unit_orders

    decoder = load_decoder(run.source("weights"), device)
    batch = calibration_batch(run.rows("instructions"), run.params["importance"], run.seed_root, device)
    space = run.params["space"]
    units = unit_rows(decoder, batch, space)
    # Sensitivities are those of the network whose units are in order, as the next stage puts them.
    order_units(decoder, unit_orders(units, bands(run.wildcards.stage, space, decoder.shape)))
    run.write("importance", units + sensitivity_rows(decoder, batch, space))
