"""Windows of tokens for one training step, the same for every rerun of the same seed.

Groups are flat uint16 arrays (books, stories, news) cut on a fixed grid, visited in a seeded
permutation a pass, or `tasks`, an array of ready rows (tokens and loss mask) that tasks.py packed,
or rows made on the spot: `copies` say the same run of words again and again, `breaks` are plain
text with runs said twice or more, after which the text goes on all the same.
A draw needs only the counters of the groups, which the checkpoint keeps. Soft targets (teacher.py)
exist for the first windows of the first pass; elsewhere they repeat the target.
"""

import pathlib

import numpy as np
import torch

GROUPS = ("books", "news", "stories", "tasks", "copies", "breaks")  # the place is part of a group's seed
TEXTS = GROUPS[:3]  # those that are text on a grid


def said_before(tokens: np.ndarray, key: int = 3) -> np.ndarray:
    """(T) -> (T) int64: the token that would say a run of key + 1 tokens of this row again; -1 where none would."""
    last, out, row = {}, np.full(len(tokens), -1, np.int64), tokens.tolist()
    for i in range(key - 1, len(row)):
        run = tuple(row[i - key + 1 : i + 1])
        if run in last:
            out[i] = row[last[run] + 1]
        last[run] = i
    return out


class Windows:
    def __init__(self, folder: pathlib.Path, mix: dict, window: int, seed: int, soft: bool = False):
        self.window, self.seed = window, seed
        self.names = sorted(n for n in mix if mix[n] > 0)
        total = sum(mix[n] for n in self.names)
        self.shares = [mix[n] / total for n in self.names]
        self.arrays = {n: self._open(folder, n) for n in self.names}
        self.counters = {n: 0 for n in self.names}
        self._orders = {}
        paths = {n: folder / f"soft-{n}.npy" for n in self.names} if soft else {}
        self.soft = {n: np.load(path, mmap_mode="r") for n, path in paths.items() if path.exists()}

    def _open(self, folder, name):
        if name == "tasks":
            return np.load(folder / "tasks.npy", mmap_mode="r")  # (rows, 2, window + 1)
        name = "books" if name in ("copies", "breaks") else name
        return np.memmap(folder / f"{name}.bin", dtype=np.uint16, mode="r")

    def count(self, name) -> int:
        array = self.arrays[name]
        return len(array) if name == "tasks" else (len(array) - 1 - self.window) // self.window

    def _order(self, name, done: int) -> tuple[np.ndarray, int]:
        """Permutation of the group's windows in a pass, and the shift of their grid."""
        key = (name, done)
        if key not in self._orders:
            rng = np.random.default_rng([self.seed, GROUPS.index(name), done])
            self._orders[key] = rng.permutation(self.count(name)), int(rng.integers(self.window))
        return self._orders[key]

    def start(self, name, index: int) -> int:
        """Where the window that the group gives as number `index` starts in its array."""
        done, at = divmod(index, self.count(name))
        order, shift = self._order(name, done)
        return int(order[at]) * self.window + shift

    def _copies(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(window + 1 tokens, loss mask): one run of 8 to 160 tokens again and again, the first time not counted.

        Every second run is words in no order, which only the attention's look back can know: a small
        model learns to look back from these in hundreds of steps, from plain text not in thousands.
        """
        rng, text = np.random.default_rng([self.seed, GROUPS.index("copies"), index]), self.arrays["copies"]
        size = int(np.exp(rng.uniform(np.log(8), np.log(160))))
        start = int(rng.integers(len(text) - size))
        run = text[rng.integers(len(text), size=size)] if rng.random() < 0.5 else text[start : start + size]
        row = np.resize(run, self.window + 1)
        mask = np.ones(self.window + 1, np.uint16)
        mask[:size] = 0
        return row, mask

    def _breaks(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(window + 1 tokens, loss mask): a window of the books in which runs of 2 to 11 tokens are said again.

        What is said again does not count, what comes after it does: who writes must get out of a loop.
        Xu et al. 2022 (Learning to Break the Loop) train on such rows too, there with a loss of their own.
        """
        rng, text = np.random.default_rng([self.seed, GROUPS.index("breaks"), index]), self.arrays["breaks"]
        at = int(rng.integers(len(text) - self.window - 1))
        row, mask = [], []
        while len(row) <= self.window:
            plain = int(rng.integers(12, 48))
            row += text[at : at + plain].tolist()
            mask += [1] * plain
            at += plain
            size = int(rng.integers(2, 12))
            near = rng.random() < 0.4
            back = size if near else int(rng.integers(size, min(len(row), 100) + 1))
            run = row[len(row) - back : len(row) - back + size] * (int(rng.integers(1, 4)) if near else 1)
            row += run
            mask += [0] * len(run)
        return np.array(row[: self.window + 1], np.uint16), np.array(mask[: self.window + 1], np.uint16)

    def _next(self, name) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """The group's next row: (window + 1 tokens, loss mask of the targets or None, soft or None)."""
        index = self.counters[name]
        self.counters[name] += 1
        if name in ("copies", "breaks"):
            row, mask = self._copies(index) if name == "copies" else self._breaks(index)
            return row, mask[1:], None
        if name == "tasks":
            done, at = divmod(index, self.count(name))
            row = self.arrays[name][self._order(name, done)[0][at]]
            return row[0], row[1][1:], None
        start, soft = self.start(name, index), self.soft.get(name, ())
        return self.arrays[name][start : start + self.window + 1], None, soft[index] if index < len(soft) else None

    def draw(self, step: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """count rows for this step: tokens and targets (count, window), soft (count, window, draws), and what
        plain text should rather not say again (count, window; -1: nothing), int64."""
        rng = np.random.default_rng([self.seed, 7, step])
        tokens = np.empty((count, self.window), np.int64)
        targets = np.empty((count, self.window), np.int64)
        draws = max((x.shape[2] for x in self.soft.values()), default=0)
        soft = np.empty((count, self.window, draws), np.int64)
        again = np.full((count, self.window), -1, np.int64)
        for i, group in enumerate(rng.choice(len(self.names), count, p=self.shares)):
            row, mask, drawn = self._next(self.names[group])
            tokens[i], targets[i] = row[:-1], row[1:]
            soft[i] = row[1:, None] if drawn is None else drawn
            if mask is not None:
                targets[i][mask == 0] = -1
            if self.names[group] not in ("tasks", "copies"):
                again[i] = said_before(tokens[i])
                again[i][again[i] == targets[i]] = -1
        soft = torch.from_numpy(soft) if draws else None
        return torch.from_numpy(tokens), torch.from_numpy(targets), soft, torch.from_numpy(again)
