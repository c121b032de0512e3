"""The chain of artifacts: what a table was made from, and the first link that does not hold."""

from pathlib import Path

import pytest

from llamanas import provenance
from llamanas.artifacts import table_of, write_table
from llamanas.errors import LlamaNasError
from llamanas.provenance import broken_links, manifest_rows, stamp, story

LOSSES = [{"stage": "finetune", "step": 0, "subnet": "full", "loss": 1.5, "tokens": 7}]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Weights with their manifest, and two tables, each made from the one before."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.safetensors").write_bytes(b"weights")
    rows = manifest_rows(tmp_path / "model")
    write_table("model/manifest.parquet", "manifest", table_of("manifest", rows), stamp("fetch_model", 1, {}, []))
    source = "model/manifest.parquet"
    for name in ("one", "two"):
        about = stamp("finetune", 1, {"steps": 2}, [source])
        write_table(f"{name}.parquet", "losses", table_of("losses", LOSSES), about)
        source = f"{name}.parquet"
    return tmp_path


def test_the_story_ends_at_the_weights(run):
    lines = [*story(run / "two.parquet", run)]
    assert [line.split(":")[0].strip().split("/")[-1] for line in lines] == [
        "two.parquet", "one.parquet", "manifest.parquet", "model.safetensors",
    ]  # fmt: skip
    assert "losses of stage finetune, seed 1" in lines[0] and lines[1].startswith("  one")


def test_an_unbroken_chain_holds_from_any_directory(run, tmp_path_factory, monkeypatch):
    assert [*broken_links(run / "two.parquet", run)] == []
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert [*broken_links(run / "two.parquet", run)] == []


@pytest.mark.parametrize(
    ("file", "words"),
    [("model/model.safetensors", "manifest.parquet says"), ("model/manifest.parquet", "one.parquet says"),
     ("one.parquet", "two.parquet says")],
)  # fmt: skip
def test_one_flipped_bit_is_found(run, file, words):
    content = bytearray((run / file).read_bytes())
    content[len(content) // 2 if file.endswith("safetensors") else 10] ^= 1
    (run / file).write_bytes(content)
    first = next(broken_links(run / "two.parquet", run))
    assert file in first and words in first


def test_a_missing_file_is_named(run):
    (run / "model/model.safetensors").unlink()
    assert "model.safetensors is missing" in next(broken_links(run / "two.parquet", run))


def test_a_wrong_directory_is_named(run, tmp_path):
    with pytest.raises(LlamaNasError, match=rf"there is no {tmp_path}/elsewhere/two.parquet; .*--directory"):
        next(broken_links(Path("two.parquet"), tmp_path / "elsewhere"))


def test_what_is_no_artifact_is_refused(run, monkeypatch, capsys):
    (run / "text.parquet").write_text("no table")
    with pytest.raises(LlamaNasError, match="not a readable Parquet file"):
        [*story(run / "text.parquet", run)]
    monkeypatch.setattr("sys.argv", ["provenance", "two.parquet", "--verify"])
    provenance.main()
    assert capsys.readouterr().out.endswith("every link holds\n")
    (run / "model/model.safetensors").write_bytes(b"others")
    with pytest.raises(SystemExit, match="broken: .*model.safetensors"):
        provenance.main()
