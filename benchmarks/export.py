"""Time, peak memory and bytes of a large network's files, each written by a process of its own.

    python benchmarks/export.py FOLDER [--shape llama2-7b] [--steps model,huggingface,onnx,int8,gguf]

`model` makes a super-network with random weights of the shape in FOLDER, in bfloat16; the others write the sub-network
of three quarters of its layers, every second MLP halved, as a Hugging Face folder, as ONNX in float32, this file at 8
bits without equalizing, which needs calibration (it deletes the float32 one, to spare the disk), and as GGUF in
float16. Steps that are made again need a new folder. Memory is the most that was resident at once, pages of mapped
files included, which the system can take back.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from deployment import INT8_PLAIN, SHAPES, random_tensors, three_quarters
from random_model import config_of, write_tokenizer

from llamanas.benchmark.memory import own_peak
from llamanas.models.families import shape_of

STEPS = ("model", "huggingface", "onnx", "int8", "gguf")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="llama2-7b")
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--alone", choices=STEPS, help="do one step in this process and print what it took")
    return parser.parse_args()


def write(step: str, folder: Path, name: str) -> Path:
    """Write the files of one step; returns their folder."""
    config = config_of(name)
    shape, source, target = shape_of(config), folder / "model", folder / step
    architecture = three_quarters(shape)
    if step == "model":
        from safetensors.torch import save_file

        source.mkdir(parents=True, exist_ok=True)
        (source / "config.json").write_text(json.dumps(config))
        write_tokenizer(source, shape.vocabulary_size)
        tensors = random_tensors(shape, shape.full, "cpu", "bfloat16")
        # All norms are one tensor, which safetensors does not write.
        tensors = {key: each.clone() if each.ndim == 1 else each for key, each in tensors.items()}
        save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    elif step == "huggingface":
        from llamanas.export.huggingface import write_folder

        write_folder(source, architecture, target, license="none")
    elif step == "onnx":
        from llamanas.export.onnx import write_onnx

        write_onnx(source, architecture, target)
    elif step == "int8":
        from llamanas.quantize.network import quantize_network
        from llamanas.quantize.plan import ways_of

        quantize_network(folder / "onnx/model.onnx", target / "model.onnx", ways_of(INT8_PLAIN, []))
        shutil.rmtree(folder / "onnx")
    elif step == "gguf":
        from llamanas.export.gguf import write_gguf

        target.mkdir()
        write_gguf(source, architecture, target / "model.gguf", "F16", threads=2)
    return target


def main() -> None:
    options = arguments()
    if not options.alone:
        for step in options.steps.split(","):
            subprocess.run(
                [sys.executable, __file__, str(options.folder), "--shape", options.shape, "--alone", step], check=True
            )
        return
    begin = perf_counter()
    target = write(options.alone, options.folder, options.shape)
    seconds, size = perf_counter() - begin, sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(
        f"{options.alone}: {seconds:.0f} s, {own_peak() / 1e9:.1f} GB of memory, {size / 1e9:.1f} GB of files",
        flush=True,
    )


if __name__ == "__main__":
    main()
