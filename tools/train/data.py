"""Windows of tokens for one training step, the same for every rerun of the same seed.

Groups are flat uint16 arrays (books, stories, news) cut on a fixed grid, visited in a seeded
permutation a pass, or `tasks`, an array of ready rows (tokens and loss mask) that tasks.py packed.
A draw needs only the counters of the groups, which the checkpoint keeps. Soft targets (teacher.py)
exist for the first windows of the first pass; elsewhere they repeat the target.
"""

import pathlib

import numpy as np
import torch

GROUPS = ("books", "news", "stories", "tasks")  # the place is part of a group's seed


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

    def _next(self, name) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """The group's next row: (window + 1 tokens, loss mask of the targets or None, soft or None)."""
        index = self.counters[name]
        self.counters[name] += 1
        if name == "tasks":
            done, at = divmod(index, self.count(name))
            row = self.arrays[name][self._order(name, done)[0][at]]
            return row[0], row[1][1:], None
        start, soft = self.start(name, index), self.soft.get(name, ())
        return self.arrays[name][start : start + self.window + 1], None, soft[index] if index < len(soft) else None

    def draw(self, step: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """count rows for this step: tokens and targets (count, window), soft (count, window, draws), int64."""
        rng = np.random.default_rng([self.seed, 7, step])
        tokens = np.empty((count, self.window), np.int64)
        targets = np.empty((count, self.window), np.int64)
        draws = max((x.shape[2] for x in self.soft.values()), default=0)
        soft = np.empty((count, self.window, draws), np.int64)
        for i, group in enumerate(rng.choice(len(self.names), count, p=self.shares)):
            row, mask, drawn = self._next(self.names[group])
            tokens[i], targets[i] = row[:-1], row[1:]
            soft[i] = row[1:, None] if drawn is None else drawn
            if mask is not None:
                targets[i][mask == 0] = -1
        return torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(soft) if draws else None
