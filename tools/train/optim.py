"""Muon for the projections and experts, AdamW for the rest, over flat shared buffers.

Muon: momentum 0.95 with Nesterov, 5 Newton-Schulz steps in bf16 (Jordan's coefficients), update
scaled by 0.2 sqrt(max side) so that one rate serves both optimisers. Worker r of w updates its own
share of the parameters and writes it into memory that all workers read.
"""

import torch

import model

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def uses_muon(name: str) -> bool:
    """dt_proj steers the time steps through 32 columns: AdamW keeps it calmer."""
    return model.is_matrix(name) and "dt_proj" not in name


def orthogonalise(g: torch.Tensor, steps: int, dtype) -> torch.Tensor:
    """g: (count, rows, columns) f32 -> nearest semi-orthogonal matrices, roughly."""
    x = g.to(dtype)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(dtype)
    a, b, c = NEWTON_SCHULZ
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        gram = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, gram, x, beta=a)
    return (x.transpose(1, 2) if tall else x).float()


def cost(name: str, shape: tuple) -> float:
    """Rough work of one update, to share the parameters evenly."""
    size = float(torch.Size(shape).numel())
    return size * (1 + min(shape[-2:]) / 2) if uses_muon(name) else size


def share(shapes: dict[str, tuple], workers: int) -> list[list[str]]:
    """Names by worker: greatest cost first onto the least loaded one, ties to the first."""
    names, loads = [[] for _ in range(workers)], [0.0] * workers
    for name in sorted(shapes, key=lambda n: (-cost(n, shapes[n]), n)):
        lightest = loads.index(min(loads))
        names[lightest].append(name)
        loads[lightest] += cost(name, shapes[name])
    return names


class Optimizer:
    """Updates `names` of the dicts master, momentum, variance (f32 views of the flat buffers)."""

    def __init__(self, names, master, momentum, variance, weight_decay, newton_schulz, dtype):
        self.master, self.momentum, self.variance = master, momentum, variance
        self.weight_decay, self.steps, self.dtype = weight_decay, newton_schulz, dtype
        self.adam = [n for n in names if not uses_muon(n)]
        self.groups = {}
        for name in names:
            if uses_muon(name):
                self.groups.setdefault(tuple(master[name].shape[-2:]), []).append(name)

    def step(self, grads: dict[str, torch.Tensor], rate: float, count: int):
        """grads: clipped f32 gradients by name; count: steps done, this one included."""
        for shape, names in sorted(self.groups.items()):
            updates = []
            for name in names:
                m = self.momentum[name].mul_(0.95).add_(grads[name])
                updates.append((grads[name] + 0.95 * m).view(-1, *shape))
            sizes = [len(u) for u in updates]
            updates = orthogonalise(torch.cat(updates), self.steps, self.dtype).split(sizes)
            for name, update in zip(names, updates):
                weight = self.master[name]
                weight.mul_(1 - rate * self.weight_decay)
                weight.add_(update.view_as(weight), alpha=-rate * 0.2 * max(shape) ** 0.5)
        for name in self.adam:
            g, weight = grads[name], self.master[name]
            m = self.momentum[name].lerp_(g, 0.1)
            v = self.variance[name].lerp_(g.square(), 0.05)
            update = (m / (1 - 0.9**count)) / ((v / (1 - 0.95**count)).sqrt() + 1e-8)
            if weight.dim() > 1 and "A_log" not in name and "conv" not in name:
                weight.mul_(1 - rate * self.weight_decay)
            weight.add_(update, alpha=-rate)
