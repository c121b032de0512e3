"""Architectures as values: one layer changed, all others kept."""

from llamanas.architecture import Architecture

WHOLE = Architecture((True, True, True), (128, 64, 128))


def test_one_layer_is_replaced():
    assert WHOLE.with_layer(1, False, 32) == Architecture((True, False, True), (128, 32, 128))
    assert WHOLE.with_layer(2, False, 0).kept_layers == (0, 1)
    assert WHOLE.with_layer(0, True, 128) == WHOLE == Architecture((True, True, True), (128, 64, 128))
