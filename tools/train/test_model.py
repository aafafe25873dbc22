"""The path that a GPU takes (plain PyTorch twins) gives the loss and gradients of the CPU's kernels."""

import unittest
from unittest import mock

import torch

import kernels
import model
import test_export


class Paths(unittest.TestCase):
    def gradients(self, shape):
        """(loss, gradients by name) of one seeded batch of a tiny model."""
        torch.set_num_threads(1)
        params = {n: x.clone().requires_grad_() for n, x in test_export.tiny_params(shape).items()}
        rng = torch.Generator().manual_seed(5)
        ids = torch.randint(0, shape.vocab, (2, 71), generator=rng)
        targets = torch.where(torch.rand(2, 70, generator=rng) < 0.2, -1, ids[:, 1:])
        total, _, _ = model.loss(params, ids[:, :-1], targets, shape, torch.float32, 0.01)
        total.backward()
        return total.item(), {n: x.grad for n, x in params.items()}

    def test_twins(self):
        shape = model.Shape(**test_export.TINY)
        loss, grads = self.gradients(shape)
        with mock.patch.object(kernels, "on_cpu", lambda x: False):
            twin_loss, twin_grads = self.gradients(shape)
        self.assertAlmostEqual(loss, twin_loss, places=5)
        for name, grad in grads.items():
            error = (grad - twin_grads[name]).abs().max() / twin_grads[name].abs().max().clamp(min=1e-8)
            self.assertLess(error.item(), 2e-4, name)


if __name__ == "__main__":
    unittest.main()
