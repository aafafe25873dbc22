"""Writes the model card (models/README.md) and the picture of the loss from the run's own files.

  card.py --clean DIR --tokens DIR --runs MAIN/log.jsonl DECAY/log.jsonl [MORE/log.jsonl] --facts facts.json --out DIR

facts.json holds what no file knows: bits per byte, task scores, samples, hours, hardware, and in `before`
the million tokens that the weights of --start had seen.
"""

import argparse
import hashlib
import json
import pathlib

HERE = pathlib.Path(__file__).parent
LICENCES = {
    "gutenberg-847-books.txt.zst": (
        "Project Gutenberg, 847 books of children's and plain prose",
        "public domain in the US",
    ),
    "wikinews-en-2022.txt.zst": ("Wikinews, English, 2022", "CC BY 2.5"),
    "fairytaleqa-stories.txt.zst": ("FairytaleQA stories, without the test split", "Apache-2.0"),
    "fairytaleqa-qa.jsonl.zst": ("FairytaleQA questions, without the test split (second stage)", "Apache-2.0"),
    "pratham-books-en.md.zst": ("Pratham Books, 395 stories", "CC BY 4.0"),
    "taskmaster4.txt.zst": ("Taskmaster ordering dialogues (second stage)", "CC BY 4.0"),
}


def read_log(paths: list[pathlib.Path]) -> list[dict]:
    """Steps of all parts in order; what a restart did again counts once."""
    steps = {}
    for path in paths:
        for line in path.read_text().splitlines():
            item = json.loads(line)
            steps = {k: v for k, v in steps.items() if k < item["step"]} if item["step"] in steps else steps
            steps[item["step"]] = item
    return [steps[k] for k in sorted(steps)]


def plot(log: list[dict], decay_from: int | None, before: float, path: pathlib.Path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tokens = [before + x["tokens"] / 1e6 for x in log]
    losses = [x["loss"] for x in log]
    smooth = [sum(part) / len(part) for part in (losses[max(0, i - 10) : i + 11] for i in range(len(losses)))]
    figure, axis = plt.subplots(figsize=(7, 3.6), dpi=100)
    axis.plot(tokens, losses, color="#c8d4e3", linewidth=0.7)
    axis.plot(tokens, smooth, color="#1f4e79", linewidth=1.6)
    if decay_from:
        at = before + decay_from / 1e6
        axis.axvline(at, color="#888888", linestyle="--", linewidth=1)
        axis.text(at, max(smooth), " decay", fontsize=8, va="top")
    axis.set_xlabel("million tokens")
    axis.set_ylabel("training loss, nats a token")
    axis.set_ylim(min(smooth) - 0.4, max(smooth) + 0.4)
    axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def sources(manifest: dict) -> str:
    rows = ["| text | licence | SHA-256 of the file |", "| --- | --- | --- |"]
    for name, (what, licence) in LICENCES.items():
        digest = manifest["sha256"].get(name) or manifest["sha256"].get(name.removesuffix(".zst"), "?")
        rows.append(f"| {what} (`{name}`) | {licence} | `{digest[:16]}...` |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for flag in ("--clean", "--tokens", "--facts", "--out"):
        parser.add_argument(flag, type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=pathlib.Path, nargs="+", required=True)
    args = parser.parse_args()
    facts = json.loads(args.facts.read_text())
    manifest = json.loads((args.clean / "manifest.json").read_text())
    counts = json.loads((args.tokens / "tokens.json").read_text())
    log = read_log(args.runs)
    decay_from = json.loads(args.runs[1].read_text().splitlines()[0])["tokens"] if len(args.runs) > 1 else None
    before = facts.get("before", 0.0)
    plot(log, decay_from, before, args.out / "loss.png")
    model = args.out / "sluice-jamba.gguf"
    fields = facts | {
        "sources": sources(manifest),
        "trained": f"{before + log[-1]['tokens'] / 1e6:.1f}",
        "steps": len(log),
        "unique": f"{sum(counts['tokens'].values()) / 1e6:.1f}",
        "mb": f"{model.stat().st_size / 1e6:.1f}",
        "sha": hashlib.sha256(model.read_bytes()).hexdigest(),
        "group_tokens": ", ".join(f"{k} {v / 1e6:.2f} M" for k, v in counts["tokens"].items()),
    }
    text = (HERE / "card.md").read_text()
    for key, value in fields.items():
        text = text.replace("{" + key + "}", str(value))
    (args.out / "README.md").write_text(text)


if __name__ == "__main__":
    main()
