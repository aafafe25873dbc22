"""Autograd functions over kernels.cpp (CPU), each with a plain PyTorch twin that runs anywhere.

Shapes: B sequences, T steps, C channels, N = 16 states. Elements are f32 or bf16, parameters f32.
On a GPU, or when no compiler is found, the twins are used; a Python loop over time is 50 times
slower than the extension, so the twin of the scan works in chunks.
"""

import ctypes
import hashlib
import os
import pathlib
import subprocess
import tempfile

import torch
import torch.nn.functional as F

SOURCE = pathlib.Path(__file__).with_name("kernels.cpp")
STATES, CHUNK = 16, 16
FLAGS = [
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp",
    "-fPIC",
    "-std=c++17",
]


def build() -> ctypes.CDLL:
    """Compiles kernels.cpp once a source and machine; torch's libgomp serves the threads."""
    text = SOURCE.read_bytes() + " ".join(FLAGS).encode()
    folder = pathlib.Path(os.environ.get("SLUICE_TRAIN_CACHE", tempfile.gettempdir()))
    library = folder / f"sluice-train-{hashlib.sha256(text).hexdigest()[:16]}.so"
    if not library.exists():
        built = library.with_suffix(f".{os.getpid()}.o")
        linked = library.with_suffix(f".{os.getpid()}.tmp")
        subprocess.run(["g++", *FLAGS, "-c", SOURCE, "-o", built], check=True)
        subprocess.run(["g++", "-shared", built, "-o", linked], check=True)  # no -fopenmp: no libgomp
        built.unlink()
        linked.rename(library)
    maps = pathlib.Path("/proc/self/maps").read_text().splitlines()
    gomp = [line.split()[-1] for line in maps if "libgomp" in line]
    if gomp:
        ctypes.CDLL(gomp[0], mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(library))


_library = None


def call(name: str, *args):
    """Calls a kernel; tensors are passed by address, ints and floats as they are."""
    global _library
    if _library is None:
        _library = build()
    packed = []
    for a in args:
        if isinstance(a, torch.Tensor):
            packed.append(ctypes.c_void_p(a.data_ptr()))
        elif isinstance(a, float):
            packed.append(ctypes.c_float(a))
        else:
            packed.append(a)
    getattr(_library, name)(*packed)


def suffix(x: torch.Tensor) -> str:
    return {torch.float32: "f32", torch.bfloat16: "bf16"}[x.dtype]


def on_cpu(x: torch.Tensor) -> bool:
    return x.device.type == "cpu"


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, dt, z, b, c, a_log, bias, d):
        batch, steps, channels = u.shape
        a2 = (-torch.exp(a_log) * 1.4426950408889634).t().contiguous()  # (N, C)
        u, dt, z, b, c = (x.contiguous() for x in (u, dt, z, b, c))
        y = torch.empty_like(u)
        chunks = (steps + CHUNK - 1) // CHUNK
        saved = torch.empty(batch * chunks * channels * STATES)
        call("scan_forward_" + suffix(u), batch, steps, channels, u, dt, z, b, c, a2, bias, d, y, saved)
        ctx.save_for_backward(u, dt, z, b, c, a_log, a2, bias, d, saved)
        return y

    @staticmethod
    def backward(ctx, dy):
        u, dt, z, b, c, a_log, a2, bias, d, saved = ctx.saved_tensors
        batch, steps, channels = u.shape
        dy = dy.contiguous()
        du, ddt, dz, db, dc = (torch.empty_like(x) for x in (u, dt, z, b, c))
        da = torch.empty(batch, STATES, channels)
        dbias, dd = torch.empty(batch, channels), torch.empty(batch, channels)
        call(
            "scan_backward_" + suffix(u),
            batch,
            steps,
            channels,
            u,
            dt,
            z,
            b,
            c,
            a2,
            bias,
            d,
            saved,
            dy,
            du,
            ddt,
            dz,
            db,
            dc,
            da,
            dbias,
            dd,
        )
        da_log = da.sum(0).t() * -torch.exp(a_log)
        return du, ddt, dz, db, dc, da_log, dbias.sum(0), dd.sum(0)


def scan_twin(u, dt, z, b, c, a_log, bias, d, length=64):
    """The scan in plain PyTorch: inside a chunk by doubling (log2 steps), chunks in order."""
    rate, outputs = -torch.exp(a_log), []
    h = torch.zeros(u.shape[0], u.shape[2], b.shape[2], device=u.device)
    for i in range(0, u.shape[1], length):
        part = slice(i, i + length)
        x, step = u[:, part].float(), F.softplus(dt[:, part].float() + bias)
        decay = torch.exp(step[..., None] * rate)  # (B, length, C, N)
        state = (step * x)[..., None] * b[:, part, None, :].float()
        reach = 1
        while reach < x.shape[1]:
            late, early = slice(reach, None), slice(None, -reach)
            state = torch.cat([state[:, :reach], state[:, late] + decay[:, late] * state[:, early]], 1)
            decay = torch.cat([decay[:, :reach], decay[:, late] * decay[:, early]], 1)
            reach *= 2
        state = state + decay * h[:, None]
        h = state[:, -1]
        y = (state * c[:, part, None, :].float()).sum(-1) + d * x
        outputs.append((y * F.silu(z[:, part].float())).to(u.dtype))
    return torch.cat(outputs, 1)


def scan(u, dt, z, b, c, a_log, bias, d):
    """y = (sum_n h_n c_n + d u) silu(z), h = exp(s A) h + s b u, s = softplus(dt + bias).

    u, dt, z, y: (B, T, C); b, c: (B, T, N); a_log: (C, N); bias, d: (C).
    """
    if on_cpu(u):
        return _Scan.apply(u, dt, z, b, c, a_log, bias, d)
    return scan_twin(u, dt, z, b, c, a_log, bias, d)


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        x, taps = x.contiguous(), weight.t().contiguous()
        y = torch.empty_like(x)
        call("conv_forward_" + suffix(x), *x.shape, x, taps, bias, y)
        ctx.save_for_backward(x, taps, bias)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, taps, bias = ctx.saved_tensors
        dy, dx = dy.contiguous(), torch.empty_like(x)
        dw, db = torch.empty(x.shape[0], *taps.shape), torch.empty(x.shape[0], x.shape[2])
        call("conv_backward_" + suffix(x), *x.shape, x, taps, bias, dy, dx, dw, db)
        return dx, dw.sum(0).t(), db.sum(0)


def conv_silu(x, weight, bias):
    """Causal depthwise convolution and silu. x: (B, T, C); weight: (C, 4); bias: (C)."""
    if on_cpu(x):
        return _Conv.apply(x, weight, bias)
    y = F.conv1d(x.transpose(1, 2).float(), weight[:, None], bias, padding=3, groups=x.shape[2])
    return F.silu(y[..., : x.shape[1]]).transpose(1, 2).to(x.dtype)


class _Norm(torch.autograd.Function):
    """x: (..., D), rows with any one stride; output contiguous, f32 or bf16."""

    PARTS = 16

    @staticmethod
    def forward(ctx, x, weight, eps, dtype):
        width = x.shape[-1]
        rows = x.numel() // width
        assert x.stride(-1) == 1
        y, scale = torch.empty(x.shape, dtype=dtype), torch.empty(rows)
        name = "bf16in" if x.dtype == torch.bfloat16 else "f32_" + suffix(y)
        call(
            "norm_forward_" + name, ctypes.c_int64(rows), width, ctypes.c_int64(x.stride(-2)), x, weight, eps, y, scale
        )
        ctx.save_for_backward(x, weight, scale)
        ctx.name = name
        return y

    @staticmethod
    def backward(ctx, dy):
        x, weight, scale = ctx.saved_tensors
        width = x.shape[-1]
        dy = dy.contiguous()
        dx, dw = torch.empty(x.shape, dtype=x.dtype), torch.empty(_Norm.PARTS, width)
        call(
            "norm_backward_" + ctx.name,
            ctypes.c_int64(scale.numel()),
            width,
            ctypes.c_int64(x.stride(-2)),
            x,
            weight,
            scale,
            dy,
            dx,
            _Norm.PARTS,
            dw,
        )
        return dx, dw.sum(0), None, None


def rms_norm(x, weight, eps, dtype):
    """weight * x / sqrt(mean(x^2) + eps), as dtype."""
    if on_cpu(x):
        return _Norm.apply(x, weight, eps, dtype)
    y = x.float()
    return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps) * weight).to(dtype)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        width = x.shape[-1] // 2
        y = torch.empty(*x.shape[:-1], width, dtype=x.dtype)
        call("swiglu_forward_" + suffix(x), ctypes.c_int64(y.numel() // width), width, x, y)
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        width, dx = x.shape[-1] // 2, torch.empty_like(x)
        call("swiglu_backward_" + suffix(x), ctypes.c_int64(dx.numel() // (2 * width)), width, x, dy.contiguous(), dx)
        return dx


def swiglu(x):
    """silu(gate) * up for x = [gate | up]: (..., 2F) -> (..., F)."""
    if on_cpu(x):
        return _SwiGLU.apply(x)
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


class _CrossEntropy(torch.autograd.Function):
    """Mean over the rows with target >= 0; the logits are overwritten by their gradient."""

    @staticmethod
    def forward(ctx, logits, target, soft, share, unlikely, penalty):
        rows, count = logits.shape[0], int((target >= 0).sum())
        loss = torch.empty(rows)
        call(
            "cross_entropy_" + suffix(logits),
            ctypes.c_int64(rows),
            logits.shape[1],
            logits,
            target,
            soft if soft is not None else ctypes.c_void_p(None),
            soft.shape[1] if soft is not None else 0,
            float(share),
            unlikely if unlikely is not None else ctypes.c_void_p(None),
            float(penalty),
            1.0 / max(count, 1),
            loss,
        )
        ctx.save_for_backward(logits)
        return loss.sum() / max(count, 1)

    @staticmethod
    def backward(ctx, grad):
        (logits,) = ctx.saved_tensors
        return (logits if float(grad) == 1.0 else logits * grad), None, None, None, None, None


def cross_entropy(logits, target, soft=None, share=0.0, unlikely=None, penalty=0.0):
    """logits: (rows, V), destroyed on the CPU; target: (rows) int64, negative = not counted.

    soft: (rows, draws) int64 tokens that get `share` of the target's weight together. unlikely: (rows)
    int64, negative = none: tokens whose -penalty log(1 - p) is added (unlikelihood, Welleck et al. 2020).
    The value is that of the targets alone on the CPU, of everything elsewhere; the gradient is everything's.
    """
    if on_cpu(logits) and logits.requires_grad:
        return _CrossEntropy.apply(logits, target, soft, share, unlikely, penalty)
    counted, rows = target >= 0, torch.log_softmax(logits.float(), -1)
    count = counted.sum().clamp(min=1)
    total = F.nll_loss(rows, target.clamp(min=-1), ignore_index=-1, reduction="sum") / count
    if soft is not None:
        drawn = -rows.gather(-1, soft).mean(-1)
        total = (1 - share) * total + share * (drawn * counted).sum() / count
    if unlikely is not None:
        p = rows.gather(-1, unlikely.clamp(min=0)[:, None])[:, 0].exp().clamp(max=0.999)
        total = total - penalty * (torch.log1p(-p) * (counted & (unlikely >= 0))).sum() / count
    return total
