"""Gradients of kernels.cpp against f64 autograd of naive formulas. Run: python -m unittest."""

import unittest

import torch
import torch.nn.functional as F

import kernels


def leaf(*shape, scale=1.0):
    return (torch.randn(*shape, dtype=torch.float64) * scale).requires_grad_()


def naive_scan(u, dt, z, b, c, a_log, bias, d):
    step = F.softplus(dt + bias)
    h = torch.zeros(u.shape[0], u.shape[2], b.shape[2], dtype=u.dtype)
    outputs = []
    for i in range(u.shape[1]):
        s, x = step[:, i, :, None], u[:, i, :, None]
        h = torch.exp(s * -torch.exp(a_log)) * h + s * b[:, i, None] * x
        outputs.append((h * c[:, i, None]).sum(-1) + d * u[:, i])
    return torch.stack(outputs, 1) * F.silu(z)


class Gradients(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)

    def compare(self, fast, slow, inputs, tolerance):
        """Outputs and gradients of fast (f32) and slow (f64) agree relative to the largest value."""
        wanted = slow(*inputs)
        weight = torch.randn_like(wanted)
        wanted_grads = torch.autograd.grad((wanted * weight).sum(), inputs)
        singles = [x.detach().float().requires_grad_() for x in inputs]
        got = fast(*singles)
        got_grads = torch.autograd.grad((got * weight.float()).sum(), singles)
        for index, (g, w) in enumerate(zip([got, *got_grads], [wanted, *wanted_grads])):
            error = ((g.double() - w).abs().max() / w.abs().max()).item()
            self.assertLess(error, tolerance, f"output or gradient {index}: {error:.2e}")

    def scan_inputs(self):
        batch, steps, channels, states = 3, 37, 32, 16
        a_log = torch.log(torch.arange(1, states + 1, dtype=torch.float64)).repeat(channels, 1)
        return [
            leaf(batch, steps, channels),
            leaf(batch, steps, channels),
            leaf(batch, steps, channels),
            leaf(batch, steps, states),
            leaf(batch, steps, states),
            (a_log + 0.1 * torch.randn_like(a_log)).requires_grad_(),
            leaf(channels),
            leaf(channels),
        ]

    def test_scan(self):
        self.compare(kernels.scan, naive_scan, self.scan_inputs(), 5e-6)

    def test_scan_twin(self):
        self.compare(kernels.scan_twin, naive_scan, self.scan_inputs(), 5e-6)

    def test_scan_bf16_is_close(self):
        inputs = [x.detach() for x in self.scan_inputs()]
        wanted = naive_scan(*inputs)
        halves = [x.bfloat16() for x in inputs[:5]] + [x.float() for x in inputs[5:]]
        error = (kernels.scan(*halves).double() - wanted).abs().max() / wanted.abs().max()
        self.assertLess(error.item(), 2e-2)

    def test_conv(self):
        def slow(x, w, b):
            y = F.conv1d(x.transpose(1, 2), w[:, None], b, padding=3, groups=x.shape[2])
            return F.silu(y[..., : x.shape[1]]).transpose(1, 2)

        self.compare(kernels.conv_silu, slow, [leaf(2, 19, 32), leaf(32, 4), leaf(32)], 2e-6)

    def test_norm(self):
        def slow(x, w):
            return w * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)

        def fast(x, w):
            return kernels.rms_norm(x, w, 1e-6, torch.float32)

        self.compare(fast, slow, [leaf(2, 21, 64), leaf(64)], 2e-6)

    def test_norm_of_a_slice(self):
        x = torch.randn(2, 5, 64)
        part = kernels.rms_norm(x[..., 32:48], torch.ones(16), 1e-6, torch.float32)
        whole = kernels.rms_norm(x[..., 32:48].contiguous(), torch.ones(16), 1e-6, torch.float32)
        self.assertTrue(torch.equal(part, whole))

    def test_swiglu(self):
        def slow(x):
            gate, up = x.chunk(2, -1)
            return F.silu(gate) * up

        self.compare(kernels.swiglu, slow, [leaf(7, 64)], 2e-6)

    def test_cross_entropy_of_what_should_not_come(self):
        x, target = leaf(9, 64, scale=3.0), torch.randint(0, 64, (9,))
        avoid = (target + 1) % 64
        avoid[2], target[4] = -1, -1
        p = torch.softmax(x, -1).gather(-1, avoid.clamp(min=0)[:, None])[:, 0]
        counted = target >= 0
        wanted = F.cross_entropy(x, target, ignore_index=-1)
        wanted = wanted - 0.7 * (torch.log1p(-p) * (counted & (avoid >= 0))).sum() / counted.sum()
        (wanted_grad,) = torch.autograd.grad(wanted, x)
        single = x.detach().float().requires_grad_()
        got = kernels.cross_entropy(single * 1.0, target, None, 0.0, avoid, 0.7)
        (got_grad,) = torch.autograd.grad(got, single)
        self.assertLess((got_grad.double() - wanted_grad).abs().max().item(), 1e-6)
        with torch.no_grad():  # the twin
            twin = kernels.cross_entropy(single * 1.0, target, None, 0.0, avoid, 0.7)
        self.assertAlmostEqual(twin.item(), wanted.item(), places=5)

    def test_cross_entropy(self):
        target = torch.randint(0, 64, (11,))
        target[3] = -1
        x = leaf(11, 64, scale=3.0)
        wanted = F.cross_entropy(x, target, ignore_index=-1)
        (wanted_grad,) = torch.autograd.grad(wanted, x)
        single = x.detach().float().requires_grad_()
        got = kernels.cross_entropy(single * 1.0, target)
        (got_grad,) = torch.autograd.grad(got, single)
        self.assertAlmostEqual(got.item(), wanted.item(), places=5)
        self.assertLess((got_grad.double() - wanted_grad).abs().max().item(), 1e-7)

    def test_soft_targets(self):
        target, soft, share = torch.randint(0, 64, (11,)), torch.randint(0, 64, (11, 8)), 0.6
        target[3], soft[1, 0], soft[2] = -1, target[1], 5
        x = leaf(11, 64, scale=3.0)
        logp = torch.log_softmax(x, -1)
        rows = (1 - share) * logp.gather(1, target.clamp(min=0)[:, None])[:, 0] + share * logp.gather(1, soft).mean(1)
        (wanted_grad,) = torch.autograd.grad(-(rows * (target >= 0)).sum() / 10, x)
        single = x.detach().float().requires_grad_()
        got = kernels.cross_entropy(single * 1.0, target, soft, share)
        (got_grad,) = torch.autograd.grad(got, single)
        plain = F.cross_entropy(x, target, ignore_index=-1)
        self.assertAlmostEqual(got.item(), plain.item(), places=5)
        self.assertLess((got_grad.double() - wanted_grad).abs().max().item(), 1e-7)


if __name__ == "__main__":
    unittest.main()
