"""Interpolated modified Kneser-Ney 5-gram over the same tokens: the baseline that the model must beat.

Counts live in sorted arrays, one of n-gram keys and counts an order; contexts are ranges of them.
Three discounts an order (Chen and Goodman). Trained on every token of books, stories and news;
evaluated like evaluate.py: windows of 512, the first token of a window only as context.
"""

import argparse
import json
import math
import pathlib

import numpy as np

import evaluate
import tokenizer as tokens


def count(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keys = np.sort(keys)
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[first], np.diff(np.concatenate([first, [len(keys)]]))


def lookup(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of every wanted key, -1 where absent."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


class Level:
    """One order: n-gram keys, their (continuation) counts, and sums by context."""

    def __init__(self, keys, counts, vocab):
        self.keys, self.counts = keys, counts
        n1, n2, n3, n4 = ((counts == i).sum() for i in (1, 2, 3, 4))
        y = n1 / (n1 + 2 * n2)
        self.discount = np.array([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        context = keys // vocab
        first = np.flatnonzero(np.concatenate([[True], context[1:] != context[:-1]]))
        self.contexts = context[first]
        self.totals = np.add.reduceat(counts, first)
        cut = self.discount[np.minimum(counts, 3)]
        self.left = np.add.reduceat(cut, first) / self.totals  # weight of the lower order

    def mix(self, keys, contexts, lower):
        """Probability of the n-grams given the lower order's."""
        at, where = lookup(self.keys, keys), lookup(self.contexts, contexts)
        c = np.where(at >= 0, self.counts[at], 0)
        own = (c - self.discount[np.minimum(c, 3)]) / self.totals[where]
        return np.where(where >= 0, np.maximum(own, 0) + self.left[where] * lower, lower)


def pack(ids: np.ndarray, order: int, vocab: int) -> np.ndarray:
    """Keys of the order-grams that end at order-1, order, ...: base-vocab numbers, oldest first."""
    size = len(ids) - order + 1
    key = np.zeros(size, np.int64)
    for i in range(order):
        key = key * vocab + ids[i : i + size]
    return key


def train(ids: np.ndarray, vocab: int, order: int) -> list[Level]:
    assert vocab**order < 2**63
    levels, keys, counts = [], *count(pack(ids, order, vocab))
    for n in range(order, 0, -1):
        levels.insert(0, Level(keys, counts, vocab))
        if n > 1:  # continuation counts: how many different tokens stand before the shorter n-gram
            keys, counts = count(keys % vocab ** (n - 1))
    return levels


def bits_per_byte(levels, ids, sizes, vocab, window=512) -> float:
    rows = (len(ids) - 1) // window
    bits = size = 0.0
    for row in np.split(ids[: rows * window].astype(np.int64), rows):
        probability = np.full(len(row) - 1, 1 / vocab)
        for n, level in enumerate(levels, 1):
            keys = pack(row, n, vocab)[max(0, 2 - n) :]
            start = max(0, n - 2)  # targets before it have too short a context: keep the lower order
            probability[start:] = level.mix(keys, keys // vocab, probability[start:])
        bits -= np.log2(probability).sum()
        size += sizes[row[1:]].sum()
    return bits / size


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=pathlib.Path, required=True)
    parser.add_argument("--order", type=int, default=5)
    args = parser.parse_args()
    names = ("books", "stories", "news")
    ids = np.concatenate([np.fromfile(args.tokens / f"{n}.bin", np.uint16) for n in names]).astype(np.int64)
    sp = tokens.load(args.tokens / "tokenizer.model")
    vocab, sizes = sp.get_piece_size(), evaluate.piece_bytes(sp)
    levels = train(ids, vocab, args.order)
    bits = [bits_per_byte(levels, np.load(args.tokens / f"heldout-{i}.npy"), sizes, vocab) for i in range(3)]
    print(
        json.dumps(
            {
                "order": args.order,
                "tokens": len(ids),
                "ngrams": [len(x.keys) for x in levels],
                "books": [round(b, 4) for b in bits],
                "mean": round(sum(bits) / 3, 4),
            }
        )
    )


if __name__ == "__main__":
    main()
