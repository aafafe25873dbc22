#!/usr/bin/env python3
"""The state store's comparison: 18 cells, every policy, as a table and a chart; beside them, traces with text.

usage: table.py --sluice build/check/sluice --traces ../shared/data/traces [--lines replay.jsonl] [--only claude-code,generator:1 ...] [--policies ours,...]
                [--table docs/state.md] [--chart docs/replay.svg]
Runs `sluice state replay` once a trace, with all its budgets and policies side by side. Results are kept in --lines, one JSON line a run, and are not run
again when they are there. With --table the lines between the marks `<!-- replay -->` and `<!-- /replay -->` of that page are written anew."""
import argparse
import json
import math
import pathlib
import subprocess
import sys

ALPHAS = ["0", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]
OTHERS = ["lru-blocks:512", "align:768", "leaf-lru", "llama", "clairvoyant"]
POLICIES = ["ours"] + [f"marconi:{a}" for a in ALPHAS] + OTHERS
# name, trace, options, budgets in GB (powers of ten)
TRACES = [
    ("claude-code", "claude-code-weka.jsonl.zst", [], [0.5, 1, 2]),
    ("generator:1", "generator:1", [], [0.25, 0.5, 1, 2]),
    ("mooncake chat", "mooncake-conversation.jsonl.zst", [], [4, 16]),
    ("claude-code, 131K to 262K", "claude-code-weka.jsonl.zst", ["--conversations", "120", "--tokens-min", "131072", "--tokens-below", "262144"], [1, 2, 4]),
    ("generator:2", "generator:2", [], [0.5, 1]),
    ("generator:3", "generator:3", [], [0.5, 1]),
    ("mooncake synthetic", "mooncake-synthetic.jsonl.zst", [], [4, 16]),
]
# Conversations with their text, in Jamba's tokens and template: beside the 18 cells, not among them.
TEXTS = [
    ("oasst trees", "oasst-en100-trees.jsonl.zst", ["--lanes", "24"], [0.1, 0.25, 0.5, 1]),
    ("tau-bench", "taubench-gpt4o-airline.json.zst", [], [0.1, 0.25, 0.5, 1]),
]


def run(args, name, trace, options, budgets, policies):
    path = trace if trace.startswith("generator") else str(args.traces / trace)
    if name in [text[0] for text in TEXTS]:
        data = args.traces.parent
        options = [*options, "--tokenizer", str(data / "tokenizers/jamba.model"), "--template", str(data / "templates/jamba_mini_1_7_chat_template.jinja")]
    command = [args.sluice, "state", "replay", path, *options, "--time"]
    for gb in budgets:
        command += ["--budget", str(int(gb * 1e9))]
    for policy in policies:
        command += ["--policy", policy]
    print("+", " ".join(command), file=sys.stderr, flush=True)
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        yield {"cell": name, **json.loads(line)}


def best_alpha(rows, cell, budget):
    tried = [r for (c, b, p), r in rows.items() if c == cell and b == budget and p.startswith("marconi:")]
    return max(tried, key=lambda r: r["saved_percent"]) if tried else None


def cells(rows, traces=TRACES):
    for name, _, _, budgets in traces:
        for gb in budgets:
            ours = rows.get((name, int(gb * 1e9), "ours"))
            marconi = best_alpha(rows, name, int(gb * 1e9))
            if ours and marconi:
                yield name, gb, ours, marconi


def avoidable(row):
    return row["bound_percent"] - row["saved_percent"]


def lines_of(rows, traces):
    """The table's lines, and the last column's numbers."""
    head = ["trace", "GB", *OTHERS[:-1], "marconi (best alpha)", "**ours**", "clairvoyant", "bound", "ours, % of bound", "avoidable, ours / marconi"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    ratios = []
    for name, gb, ours, marconi in cells(rows, traces):
        budget = int(gb * 1e9)
        ratios.append(avoidable(ours) / avoidable(marconi))

        def saved(policy):
            row = rows.get((name, budget, policy))
            return f"{row['saved_percent']:.1f}" if row else "-"

        alpha = marconi["policy"].split(":")[1]
        lines.append("| " + " | ".join([name, f"{gb:g}", *[saved(p) for p in OTHERS[:-1]], f"{marconi['saved_percent']:.1f} ({alpha})",
                                        f"**{ours['saved_percent']:.1f}**", saved("clairvoyant"), f"{ours['bound_percent']:.1f}",
                                        f"{ours['of_bound_percent']:.1f}", f"{ratios[-1]:.2f}"]) + " |")
    return lines, ratios


def table(rows):
    lines, ratios = lines_of(rows, TRACES)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else 0
    lines += ["", f"Geometric mean of the last column over {len(ratios)} cells: **{mean:.3f}**; highest {max(ratios, default=0):.2f}."]
    texts, _ = lines_of(rows, TEXTS)
    return lines + ["", "Conversations with their text, not among the 18:", "", *texts]


def chart(rows):
    """Avoidable computation left by ours over that left by Marconi with its best alpha, one bar a cell."""
    data = [(f"{name}, {gb:g} GB", avoidable(ours) / avoidable(marconi)) for name, gb, ours, marconi in cells(rows)]
    left, width, step, top = 230, 420, 22, 46
    height = top + step * len(data) + 30
    x = lambda ratio: left + ratio * width
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" height="{height}" font-family="sans-serif" font-size="12">',
           f'<rect width="100%" height="100%" fill="#fff"/><text x="10" y="20" font-size="14">Avoidable computation: ours as a share of '
           "Marconi's best alpha (shorter is better)</text>"]
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1.0):
        colour = "#c33" if tick == 0.6 else "#999" if tick == 1.0 else "#ddd"
        out.append(f'<line x1="{x(tick):.0f}" y1="{top - 10}" x2="{x(tick):.0f}" y2="{height - 24}" stroke="{colour}"/>'
                   f'<text x="{x(tick):.0f}" y="{height - 8}" text-anchor="middle" fill="#555">{tick:g}</text>')
    for i, (name, ratio) in enumerate(data):
        y = top + i * step
        out.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{name}</text>'
                   f'<rect x="{left}" y="{y}" width="{ratio * width:.1f}" height="16" fill="#4878a8"/>'
                   f'<text x="{x(ratio) + 5:.0f}" y="{y + 12}" fill="#333">{ratio:.2f}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sluice", default="build/check/sluice")
    parser.add_argument("--traces", type=pathlib.Path, default=pathlib.Path("../shared/data/traces"))
    parser.add_argument("--lines", type=pathlib.Path, default=pathlib.Path("replay.jsonl"))
    parser.add_argument("--only", help="names of traces, separated by semicolons")
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--table", type=pathlib.Path)
    parser.add_argument("--chart", type=pathlib.Path)
    args = parser.parse_args()
    rows = {}
    if args.lines.exists():
        for line in args.lines.read_text().splitlines():
            row = json.loads(line)
            rows[row["cell"], row["budget_bytes"], row["policy"]] = row
    for name, trace, options, budgets in TRACES + TEXTS:
        if args.only and name not in args.only.split(";"):
            continue
        missing = [p for p in args.policies.split(",") if p and any((name, int(gb * 1e9), p) not in rows for gb in budgets)]
        if not missing:
            continue
        with args.lines.open("a") as lines:
            for row in run(args, name, trace, options, budgets, missing):
                rows[name, row["budget_bytes"], row["policy"]] = row
                lines.write(json.dumps(row) + "\n")
    wrong = [r for r in rows.values() if r["wrong_states"] or r["bytes"]["max"] > r["budget_bytes"]]
    text = "\n".join(table(rows))
    print(text)
    if args.table:
        page = args.table.read_text()
        before, rest = page.split("<!-- replay -->\n")
        args.table.write_text(before + "<!-- replay -->\n" + text + "\n<!-- /replay -->" + rest.split("<!-- /replay -->")[1])
    if args.chart:
        args.chart.write_text(chart(rows))
    for row in wrong:
        print(f"{row['cell']} {row['budget_bytes']} {row['policy']}: wrong states or over the budget", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
