"""Rule rank_importance: what each channel and each sub-layer is worth."""

from llamanas.job import job

with job(snakemake) as run, run.device() as device:
    from llamanas.models.decoder import load_decoder
    from llamanas.supernet.importance import calibration_batch, channel_rows, sensitivity_rows
    from llamanas.supernet.order import bands, channel_orders, order_channels

    decoder = load_decoder(run.source("weights"), device)
    batch = calibration_batch(run.rows("instructions"), run.params["importance"], run.seed_root, device)
    channels = channel_rows(decoder, batch)
    widths = sorted({0, *run.params["space"]["intermediate_sizes"]})
    # Sensitivities are those of the network whose channels are in order, as the next stage puts them.
    full = decoder.shape.intermediate_size
    order_channels(decoder, channel_orders(channels, bands(run.wildcards.stage, widths, full)))
    run.write("importance", channels + sensitivity_rows(decoder, batch, widths))
