"""Jamba in PyTorch: the shapes, the start values and one forward function over a dict of tensors.

Layout and equations: shared/reference/architectures.md section 2. Names are the published ones,
except where a matrix is kept fused or cut for speed (export.py undoes it):
mamba.in_proj_x / in_proj_z = halves of in_proj; feed_forward.gate_up = [gate; up];
feed_forward.experts.gate_up (E, 2F, d) and .down (E, d, F) = stacks.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F

import kernels


@dataclasses.dataclass
class Shape:
    """One size of the family; dense and expert feed-forward share d_ff, as in Jamba's config."""

    vocab: int = 6144
    d: int = 256
    layers: int = 8
    heads: int = 4
    kv_heads: int = 2
    d_ff: int = 256
    experts: int = 8
    top_k: int = 2
    attn_period: int = 8
    attn_offset: int = 4
    expert_period: int = 2
    expert_offset: int = 1
    d_inner: int = 512
    dt_rank: int = 32
    states: int = 16
    taps: int = 4
    eps: float = 1e-6

    def is_attention(self, layer: int) -> bool:
        return layer % self.attn_period == self.attn_offset

    def is_moe(self, layer: int) -> bool:
        return self.experts > 1 and layer % self.expert_period == self.expert_offset


def parameter_shapes(s: Shape) -> dict[str, tuple]:
    """Every parameter's name and shape, in a fixed order."""
    shapes = {"model.embed_tokens.weight": (s.vocab, s.d)}
    for i in range(s.layers):
        layer = {"input_layernorm.weight": (s.d,), "pre_ff_layernorm.weight": (s.d,)}
        if s.is_attention(i):
            head = s.d // s.heads
            layer |= {
                "self_attn.q_proj.weight": (s.d, s.d),
                "self_attn.k_proj.weight": (s.kv_heads * head, s.d),
                "self_attn.v_proj.weight": (s.kv_heads * head, s.d),
                "self_attn.o_proj.weight": (s.d, s.d),
            }
        else:
            layer |= {
                "mamba.in_proj_x": (s.d_inner, s.d),
                "mamba.in_proj_z": (s.d_inner, s.d),
                "mamba.conv1d.weight": (s.d_inner, s.taps),
                "mamba.conv1d.bias": (s.d_inner,),
                "mamba.x_proj.weight": (s.dt_rank + 2 * s.states, s.d_inner),
                "mamba.dt_layernorm.weight": (s.dt_rank,),
                "mamba.b_layernorm.weight": (s.states,),
                "mamba.c_layernorm.weight": (s.states,),
                "mamba.dt_proj.weight": (s.d_inner, s.dt_rank),
                "mamba.dt_proj.bias": (s.d_inner,),
                "mamba.A_log": (s.d_inner, s.states),
                "mamba.D": (s.d_inner,),
                "mamba.out_proj.weight": (s.d, s.d_inner),
            }
        if s.is_moe(i):
            layer |= {
                "feed_forward.router.weight": (s.experts, s.d),
                "feed_forward.experts.gate_up": (s.experts, 2 * s.d_ff, s.d),
                "feed_forward.experts.down": (s.experts, s.d, s.d_ff),
            }
        else:
            layer |= {"feed_forward.gate_up": (2 * s.d_ff, s.d), "feed_forward.down_proj.weight": (s.d, s.d_ff)}
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    shapes["model.final_layernorm.weight"] = (s.d,)
    return shapes


MATRIX_ENDS = (
    "q_proj.weight",
    "k_proj.weight",
    "v_proj.weight",
    "o_proj.weight",
    "in_proj_x",
    "in_proj_z",
    "x_proj.weight",
    "out_proj.weight",
    "gate_up",
    "down",
    "down_proj.weight",
    "dt_proj.weight",
)


def is_matrix(name: str) -> bool:
    """True for what is multiplied in bf16 (and later quantised); the embedding is apart."""
    return name.endswith(MATRIX_ENDS)


def initial(name: str, shape: tuple, s: Shape, rng: torch.Generator) -> torch.Tensor:
    """Start value of one parameter (Mamba's own rules for A, D and the dt bias)."""
    if "layernorm" in name or name.endswith("mamba.D"):
        return torch.ones(shape)
    if name.endswith("A_log"):
        return torch.log(torch.arange(1, s.states + 1).float()).repeat(s.d_inner, 1)
    if name.endswith("dt_proj.bias"):
        low, high = math.log(1e-3), math.log(1e-1)
        dt = torch.exp(torch.rand(shape, generator=rng) * (high - low) + low)
        return dt + torch.log(-torch.expm1(-dt))  # inverse of softplus
    if name.endswith("conv1d.bias"):
        return torch.zeros(shape)
    std = 0.02 if "embed_tokens" in name else 1 / math.sqrt(3 * shape[-1])
    if name.endswith(("out_proj.weight", "o_proj.weight", "down", "down_proj.weight")):
        std /= math.sqrt(2 * s.layers)
    return torch.randn(shape, generator=rng) * std


def attention(p, at: str, x, s: Shape):
    """Grouped-query attention without positions. x: (B, T, d)."""
    batch, steps, _ = x.shape
    q, k, v = (
        F.linear(x, p[f"{at}.{n}_proj.weight"]).view(batch, steps, -1, s.d // s.heads).transpose(1, 2) for n in "qkv"
    )
    k, v = (y.repeat_interleave(s.heads // s.kv_heads, 1) for y in (k, v))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.linear(y.transpose(1, 2).reshape(batch, steps, s.d), p[f"{at}.o_proj.weight"])


def mamba(p, at: str, x, s: Shape):
    """Mamba-1 with Jamba's norms on dt, B and C. x: (B, T, d)."""
    u, z = F.linear(x, p[f"{at}.in_proj_x"]), F.linear(x, p[f"{at}.in_proj_z"])
    u = kernels.conv_silu(u, p[f"{at}.conv1d.weight"], p[f"{at}.conv1d.bias"])
    parts = F.linear(u, p[f"{at}.x_proj.weight"]).split([s.dt_rank, s.states, s.states], -1)
    dt, b, c = (
        kernels.rms_norm(part, p[f"{at}.{n}_layernorm.weight"], s.eps, part.dtype)
        for part, n in zip(parts, ("dt", "b", "c"))
    )
    dt = F.linear(dt, p[f"{at}.dt_proj.weight"])
    y = kernels.scan(u, dt, z, b, c, p[f"{at}.A_log"], p[f"{at}.dt_proj.bias"], p[f"{at}.D"])
    return F.linear(y, p[f"{at}.out_proj.weight"])


class _Experts(torch.autograd.Function):
    """Rows sorted by expert, every segment padded to a multiple of 64 (few shapes for the JIT)."""

    @staticmethod
    def forward(ctx, x, weight, ids, gate_up, down):
        """x: (R, d); weight, ids: (R, k); gate_up: (E, 2F, d); down: (E, d, F) -> (R, d)."""
        experts, top_k = gate_up.shape[0], ids.shape[1]
        flat = ids.reshape(-1)
        order = torch.argsort(flat, stable=True)
        counts = torch.bincount(flat, minlength=experts)
        padded = (counts + 63) // 64 * 64
        starts, offsets = padded.cumsum(0) - padded, counts.cumsum(0) - counts
        rank = torch.arange(len(flat), device=x.device) - offsets[flat[order]]
        slot = torch.empty_like(order)  # row of the padded buffer, by (token, choice)
        slot[order] = starts[flat[order]] + rank
        xs = x.new_zeros(int(padded.sum()), x.shape[1])
        xs[slot] = x.repeat_interleave(top_k, 0)
        sizes = padded.tolist()
        hs, acts, ys = [], [], []
        for e, part in enumerate(xs.split(sizes)):
            hs.append(part @ gate_up[e].t())
            acts.append(kernels.swiglu(hs[-1]))
            ys.append(acts[-1] @ down[e].t())
        chosen = torch.cat(ys)[slot].view(*ids.shape, -1)
        ctx.save_for_backward(weight, slot, xs, gate_up, down, chosen, *hs, *acts)
        ctx.sizes = sizes
        return (chosen * weight[..., None].to(x.dtype)).sum(1)

    @staticmethod
    def backward(ctx, dy):
        weight, slot, xs, gate_up, down, chosen, *rest = ctx.saved_tensors
        experts = gate_up.shape[0]
        hs, acts = rest[:experts], rest[experts:]
        dweight = (dy[:, None] * chosen).float().sum(-1)
        dys = torch.zeros_like(xs)
        dys[slot] = (dy[:, None] * weight[..., None].to(dy.dtype)).reshape(len(slot), -1)
        dgate_up, ddown, dxs = torch.empty_like(gate_up), torch.empty_like(down), []
        for e, (part, grad) in enumerate(zip(xs.split(ctx.sizes), dys.split(ctx.sizes))):
            ddown[e] = grad.t() @ acts[e]
            with torch.enable_grad():
                leaf = hs[e].detach().requires_grad_()
                (dh,) = torch.autograd.grad(kernels.swiglu(leaf), leaf, grad @ down[e])
            dgate_up[e] = dh.t() @ part
            dxs.append(dh @ gate_up[e])
        dx = torch.cat(dxs)[slot].view(*weight.shape, -1).sum(1)
        return dx, dweight, None, dgate_up, ddown


def moe(p, at: str, x, s: Shape):
    """Top-k experts weighted by the raw softmax. x: (B, T, d) -> (y, balance loss, load (E))."""
    rows = x.reshape(-1, s.d)
    prob = torch.softmax(F.linear(rows.float(), p[f"{at}.router.weight"]), -1)
    weight, ids = prob.topk(s.top_k, -1)
    load = torch.bincount(ids.reshape(-1), minlength=s.experts).float() / ids.numel()
    balance = s.experts * (load * prob.mean(0)).sum()
    y = _Experts.apply(rows, weight, ids, p[f"{at}.experts.gate_up"], p[f"{at}.experts.down"])
    return y.view_as(x), balance, load


def hidden_states(p, tokens, s: Shape, dtype):
    """tokens: (B, T) -> (last hidden states (B, T, d) as dtype, balance losses, loads), per MoE layer."""
    x = F.embedding(tokens, p["model.embed_tokens.weight"])  # the residual stays f32
    balances, loads = [], []
    for i in range(s.layers):
        at = f"model.layers.{i}"
        h = kernels.rms_norm(x, p[f"{at}.input_layernorm.weight"], s.eps, dtype)
        mixer = attention if s.is_attention(i) else mamba
        x = x + mixer(p, f"{at}.self_attn" if s.is_attention(i) else f"{at}.mamba", h, s)
        h = kernels.rms_norm(x, p[f"{at}.pre_ff_layernorm.weight"], s.eps, dtype)
        at += ".feed_forward"
        if s.is_moe(i):
            y, balance, load = moe(p, at, h, s)
            balances.append(balance)
            loads.append(load)
        else:
            y = F.linear(kernels.swiglu(F.linear(h, p[f"{at}.gate_up"])), p[f"{at}.down_proj.weight"])
        x = x + y
    return kernels.rms_norm(x, p["model.final_layernorm.weight"], s.eps, dtype), balances, loads


def logits(p, tokens, s: Shape, dtype=torch.float32):
    """tokens: (B, T) -> logits (B, T, vocab)."""
    x, _, _ = hidden_states(p, tokens, s, dtype)
    return F.linear(x, p["model.embed_tokens.weight"].to(dtype))


def loss(p, tokens, targets, s: Shape, dtype, balance_weight: float, soft=None, share: float = 0.0, unlikely=None, penalty=0.0):
    """Mean cross-entropy of targets (negative: not counted) -> (total, plain loss, loads).

    soft: (B, T, draws) or None, drawn next tokens that get `share` of the weight; unlikely: (B, T) or None,
    tokens that should not come next, with the weight `penalty` (kernels.cross_entropy).
    """
    x, balances, loads = hidden_states(p, tokens, s, dtype)
    out = F.linear(x.reshape(-1, s.d), p["model.embed_tokens.weight"].to(dtype))
    drawn = None if soft is None else soft.reshape(-1, soft.shape[-1])
    avoid = None if unlikely is None else unlikely.reshape(-1)
    plain = kernels.cross_entropy(out, targets.reshape(-1), drawn, share, avoid, penalty)
    total = plain + balance_weight * torch.stack(balances).mean() if balances else plain
    return total, plain.detach(), torch.stack(loads) if loads else None
