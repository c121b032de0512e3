"""The folders of weights that stages hand on."""

from safetensors.torch import save_file

from llamanas.models.decoder import load_decoder, tensors_to_save
from llamanas.supernet.build import write_weights


def test_weights_are_written_as_safetensors_writes_them(family_folder, tmp_path):
    decoder = load_decoder(family_folder)
    write_weights(decoder, tmp_path / "own")
    save_file(tensors_to_save(decoder), tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / "own").read_bytes() == (tmp_path / "theirs").read_bytes()
