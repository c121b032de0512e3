"""What a job takes of its GPUs is printed in words that the report reads."""

from types import SimpleNamespace

import pytest

from llamanas import meter


@pytest.fixture
def two_gpus(monkeypatch):
    torch = pytest.importorskip("torch")
    counted = iter([10.0, 20.0, 13.5, 21.5])
    monkeypatch.setattr(meter, "energy", lambda device: next(counted))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", {"cuda:0": 3 * 2**20, "cuda:1": 5 * 2**20}.get)


def test_memory_is_of_one_gpu_and_energy_of_all(two_gpus, capfd):
    with pytest.raises(KeyError), meter.metered(["cuda:0", "cuda:1"]):
        raise KeyError  # a failed job has taken what it has taken
    assert meter.taken(capfd.readouterr().err) == (5, 5)


def test_a_gpu_that_does_not_count_leaves_energy_out(two_gpus, monkeypatch, capfd):
    monkeypatch.setattr(meter, "energy", lambda device: None)
    with meter.metered(["cuda:0"]):
        pass
    assert meter.taken(capfd.readouterr().err) == (3, None)


def test_without_the_library_energy_is_unknown(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="0"))
    monkeypatch.setattr(meter.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    assert meter.energy("cuda:0") is None


def test_on_cpus_nothing_is_printed(capfd):
    with meter.metered(["cpu"]):
        pass
    assert capfd.readouterr().err == "" and meter.taken("computing on cpu with 2 threads\n") == (None, None)
