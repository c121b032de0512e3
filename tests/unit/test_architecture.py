"""Architectures as values: one layer changed, all others kept."""

from llamanas.architecture import Architecture

WHOLE = Architecture((2, 2, 2), (128, 64, 128))


def test_one_layer_is_replaced():
    assert WHOLE.with_layer(1, 0, 32) == Architecture((2, 0, 2), (128, 32, 128))
    assert WHOLE.with_layer(2, 0, 0).kept_layers == (0, 1)
    assert WHOLE.with_layer(0, 2, 128) == WHOLE == Architecture((2, 2, 2), (128, 64, 128))
