"""Windows of tokens for one training step, the same for every rerun of the same seed.

Groups are flat uint16 arrays (books, stories, news) cut on a fixed grid, visited in a seeded
permutation a pass, or `tasks`, an array of ready rows (tokens and loss mask) that tasks.py packed.
A draw needs only the counters of the groups, which the checkpoint keeps.
"""

import pathlib

import numpy as np
import torch


class Windows:
    def __init__(self, folder: pathlib.Path, mix: dict, window: int, seed: int):
        self.window, self.seed = window, seed
        self.names = sorted(n for n in mix if mix[n] > 0)
        total = sum(mix[n] for n in self.names)
        self.shares = [mix[n] / total for n in self.names]
        self.arrays = {n: self._open(folder, n) for n in self.names}
        self.counters = {n: 0 for n in self.names}
        self._orders = {}

    def _open(self, folder, name):
        if name == "tasks":
            return np.load(folder / "tasks.npy", mmap_mode="r")  # (rows, 2, window + 1)
        return np.memmap(folder / f"{name}.bin", dtype=np.uint16, mode="r")

    def _count(self, name) -> int:
        array = self.arrays[name]
        return len(array) if name == "tasks" else (len(array) - 1 - self.window) // self.window

    def _next(self, name) -> tuple[np.ndarray, np.ndarray | None]:
        """The group's next row: (window + 1 tokens, loss mask of the targets or None)."""
        rows = self._count(name)
        done, at = divmod(self.counters[name], rows)
        self.counters[name] += 1
        key = (name, done)
        if key not in self._orders:
            rng = np.random.default_rng([self.seed, self.names.index(name), done])
            self._orders[key] = rng.permutation(rows), int(rng.integers(self.window))
        order, shift = self._orders[key]
        if name == "tasks":
            row = self.arrays[name][order[at]]
            return row[0], row[1][1:]
        start = int(order[at]) * self.window + shift
        return self.arrays[name][start : start + self.window + 1], None

    def draw(self, step: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """count rows for this step: tokens and targets, both (count, window) int64."""
        rng = np.random.default_rng([self.seed, 7, step])
        tokens = np.empty((count, self.window), np.int64)
        targets = np.empty((count, self.window), np.int64)
        for i, group in enumerate(rng.choice(len(self.names), count, p=self.shares)):
            row, mask = self._next(self.names[group])
            tokens[i], targets[i] = row[:-1], row[1:]
            if mask is not None:
                targets[i][mask == 0] = -1
        return torch.from_numpy(tokens), torch.from_numpy(targets)
