"""How fluent the continuations are, by the project's own engine and another model as the judge.

  fluency.py --sluice build/release/sluice --model FILE --judge SmolLM2.gguf --tokens DIR --out DIR [--count N]

Openings of 40 tokens from the three held-out books, at seeded places after a paragraph's end; the model
goes on with each for 100 tokens at temperature 0.8, nothing cut from the distribution; the human
continuation is the book's next 100 tokens. Reports the judge's mean negative log-likelihood a byte of
both, given the opening, their ratio, and the share of repeated 4-grams (words) of both. The
continuations stay in OUT/fluency.jsonl.
"""

import argparse
import json
import pathlib
import subprocess

import numpy as np

import tokenizer as tokens

OPENING, LENGTH, TEMPERATURE = 40, 100, 0.8


def openings(folder: pathlib.Path, sp, count: int, seed: int):
    """(opening, human continuation) pairs, the books in turn."""
    rng = np.random.default_rng(seed)
    books = [np.load(folder / f"heldout-{i}.npy") for i in range(3)]
    newline = sp.piece_to_id("\n")
    starts = [rng.permutation(np.flatnonzero(ids[: -OPENING - LENGTH - 1] == newline) + 1) for ids in books]
    for i in range(count):
        ids, at = books[i % 3], int(starts[i % 3][i // 3])
        parts = ids[at : at + OPENING], ids[at + OPENING : at + OPENING + LENGTH]
        yield tuple(sp.decode(part.tolist()) for part in parts)


def go_on(sluice, model, opening: str, seed: int) -> str:
    """One continuation; a seed that ends the text at once gives way to the next."""
    for again in range(10):
        flags = ["-n", str(LENGTH), "--temp", str(TEMPERATURE), "--top-k", "0", "--top-p", "1", "--min-p", "0"]
        flags += ["--seed", str(seed + 1000 * again), "--threads", "1", "--ctx", "512", "--json"]
        command = [sluice, "run", model, "--raw", "-p", opening, *flags]
        done = subprocess.run(command, check=True, capture_output=True)
        text = json.loads(done.stdout)["text"]
        if text:
            return text
    raise RuntimeError(f"no continuation of {opening!r}")


def judged(sluice, judge, pairs: list[tuple[str, str]], folder: pathlib.Path) -> float:
    """The judge's nats a byte of the texts given their contexts, mean over the texts."""
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps({"context": c, "text": t}) + "\n" for c, t in pairs))
    command = [sluice, "perplexity", judge, "--pairs", path, "--window", "1024", "--threads", "1", "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["nats_per_byte"]


def repeated(texts: list[str], size: int = 4) -> float:
    """Share of the word 4-grams that occurred before in the same text."""
    again = total = 0
    for text in texts:
        words = text.lower().split()
        grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
        total += len(grams)
        again += len(grams) - len(set(grams))
    return again / max(total, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for flag in ("--sluice", "--model", "--judge", "--tokens", "--out"):
        parser.add_argument(flag, type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    sp = tokens.load(args.tokens / "tokenizer.model")
    found = list(openings(args.tokens, sp, args.count, args.seed))
    written = [go_on(args.sluice, args.model, opening, args.seed + i) for i, (opening, _) in enumerate(found)]
    rows = [{"opening": o, "human": h, "model": m} for (o, h), m in zip(found, written)]
    (args.out / "fluency.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    nats = {w: judged(args.sluice, args.judge, [(r["opening"], r[w]) for r in rows], args.out) for w in ("model", "human")}
    report = {"count": len(rows), "nats_per_byte": {k: round(v, 4) for k, v in nats.items()}}
    report["ratio"] = round(nats["model"] / nats["human"], 4)
    report["repeated_4grams"] = {w: round(repeated([r[w] for r in rows]), 5) for w in ("model", "human")}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
