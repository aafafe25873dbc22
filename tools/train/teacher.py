"""Soft targets for the constant-rate part: next tokens drawn from a Kneser-Ney 4-gram.

For every position of the windows that train.py will draw first, DRAWS tokens from the 4-gram's
distribution, into soft-GROUP.npy (windows, window, DRAWS) uint16. The 4-gram is counted on all other
windows, so it has not seen what it teaches. A single next word is a noisy witness of what may follow;
the 4-gram adds what the rest of the text says about it. In the decay its share falls with the rate.

Reads the folder of tokenizer.py and a config; next: train.py, which mixes them in by `soft`.
"""

import argparse
import json
import pathlib
import tomllib

import numpy as np

import data
import kneser_ney

ORDER, DRAWS = 4, 8


class Sampler:
    """Exact draws: at each order take one of the context's counts; keep it with what the discount
    leaves of it, else go to the shorter context."""

    def __init__(self, levels: list[kneser_ney.Level], vocab: int):
        self.levels, self.vocab, self.owners, self.starts = levels, vocab, [], []
        for level in levels:
            self.owners.append(np.repeat(np.arange(len(level.keys), dtype=np.int32), level.counts))
            self.starts.append(np.cumsum(level.totals) - level.totals)

    def draw(self, rows: np.ndarray, draws: int, rng) -> np.ndarray:
        """rows: (R, T + 1) tokens -> (R, T, draws): what may follow rows[:, :t + 1]."""
        vocab = self.vocab
        rows = rows[:, :-1].astype(np.int64)
        out = rng.integers(vocab, size=(*rows.shape, draws))
        is_open = np.ones(out.shape, bool)
        for n in range(len(self.levels), 0, -1):
            level, context = self.levels[n - 1], np.zeros_like(rows)
            for back in range(n - 1):  # the last n - 1 tokens, oldest first
                context[:, back:] += rows[:, : rows.shape[1] - back] * vocab**back
            where = kneser_ney.lookup(level.contexts, context)
            where[:, : max(0, n - 2)] = -1
            r, t, k = np.nonzero(is_open & (where >= 0)[..., None])
            at = where[r, t]
            pick = (rng.random(len(at)) * level.totals[at]).astype(np.int64)
            entry = self.owners[n - 1][self.starts[n - 1][at] + pick]
            count = level.counts[entry]
            keep = rng.random(len(at)) * count < count - level.discount[np.minimum(count, 3)]
            r, t, k = r[keep], t[keep], k[keep]
            out[r, t, k] = level.keys[entry[keep]] % vocab
            is_open[r, t, k] = False
        return out.astype(np.uint16)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=pathlib.Path, required=True, help="folder of tokenizer.py")
    parser.add_argument("--million", type=float, default=4, help="tokens to teach")
    args = parser.parse_args()
    config = tomllib.loads(args.config.read_text())
    window, vocab, seed = config["train"]["window"], config["model"]["vocab"], config["seed"]
    texts = {name: share for name, share in config["mix"].items() if name in data.TEXTS}
    windows = data.Windows(args.tokens, texts, window, seed)
    taught, others = {}, []
    for name, share in zip(windows.names, windows.shares):
        count = min(int(share * args.million * 1e6 / window * 1.05), windows.count(name) // 2)
        starts = np.array([windows.start(name, i) for i in range(count)])
        taught[name] = np.stack([windows.arrays[name][s : s + window + 1] for s in starts])
        rest = np.ones(len(windows.arrays[name]), bool)
        for s in starts:
            rest[s : s + window + 1] = False
        others.append(windows.arrays[name][rest])
    ids = np.concatenate(others).astype(np.int64)
    sampler = Sampler(kneser_ney.train(ids, vocab, ORDER), vocab)
    report = {"counted": len(ids)}
    for name, rows in taught.items():
        rng = np.random.default_rng([seed, data.GROUPS.index(name)])
        soft = np.concatenate([sampler.draw(rows[i : i + 64], DRAWS, rng) for i in range(0, len(rows), 64)])
        np.save(args.tokens / f"soft-{name}.npy", soft)
        hits = (soft == rows[:, 1:, None]).mean()
        report[name] = {"windows": len(rows), "draws_that_hit": round(float(hits), 4)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
