"""The engine's logits of the exported folder and f32 GGUF against the PyTorch model's.

  check_export.py --sluice build/release/sluice --checkpoint last.pt --tokenizer tokenizer.model --out DIR

Exports both into DIR with the golden logits of a passage and of a chat prompt, lets `sluice logits`
read their tokens from each, and fails where a logit differs by more than 1e-4 of the largest.
"""

import argparse
import pathlib
import subprocess
import sys

import numpy as np
import safetensors.numpy

import export

LIMIT = 1e-4


def difference(sluice, model, ids: np.ndarray, wanted: np.ndarray, folder: pathlib.Path) -> float:
    """Largest difference of the engine's logits, of the largest logit."""
    (folder / "ids").write_text(" ".join(map(str, ids)))
    command = [sluice, "logits", model, "--tokens-file", folder / "ids", "--out", folder / "logits", "--threads", "1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    got = safetensors.numpy.load_file(folder / "logits")["logits"]
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for flag in ("--sluice", "--checkpoint", "--tokenizer", "--out"):
        parser.add_argument(flag, type=pathlib.Path, required=True)
    args = parser.parse_args()
    shape, params, _ = export.load_checkpoint(args.checkpoint)
    export.write_hf(args.out / "hf", shape, params, args.tokenizer)
    export.write_gguf(args.out / "f32.gguf", shape, params, args.tokenizer, q8=False)
    export.write_golden(args.out / "golden.safetensors", shape, params, args.tokenizer)
    golden, worst = safetensors.numpy.load_file(args.out / "golden.safetensors"), 0.0
    for name in ("text", "chat"):
        for model in ("hf", "f32.gguf"):
            found = difference(args.sluice, args.out / model, golden[f"{name}.tokens"], golden[f"{name}.logits"], args.out)
            print(f"{name}, {model}: {found:.1e}")
            worst = max(worst, found)
    sys.exit(worst > LIMIT)


if __name__ == "__main__":
    main()
