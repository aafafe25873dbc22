"""Token-by-token decoding in PyTorch with the recurrent state, for the task scores and the samples.

Every step costs the same whatever the length; the engine does this properly. Batch of sequences,
all starting at position 0; a sequence's prompt is fed one token a step, then its own choices follow.
"""

import torch
import torch.nn.functional as F

import model
import tokenizer as tokens


def _norm(x, w, eps):
    return w * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


class Decoder:
    """State of `batch` sequences; step(ids (B)) -> logits (B, V), f32."""

    def __init__(self, params, shape: model.Shape, batch: int):
        self.p, self.s = params, shape
        self.conv = [torch.zeros(batch, shape.taps, shape.d_inner) for _ in range(shape.layers)]
        self.ssm = [torch.zeros(batch, shape.d_inner, shape.states) for _ in range(shape.layers)]
        self.keys = [[] for _ in range(shape.layers)]
        self.values = [[] for _ in range(shape.layers)]
        self.rate = {
            i: -torch.exp(params[f"model.layers.{i}.mamba.A_log"])
            for i in range(shape.layers)
            if not shape.is_attention(i)
        }

    def _mamba(self, i, at, x):
        p, s = self.p, self.s
        u, z = F.linear(x, p[f"{at}.in_proj_x"]), F.linear(x, p[f"{at}.in_proj_z"])
        self.conv[i] = torch.cat([self.conv[i][:, 1:], u[:, None]], 1)
        u = F.silu((self.conv[i] * p[f"{at}.conv1d.weight"].t()).sum(1) + p[f"{at}.conv1d.bias"])
        parts = F.linear(u, p[f"{at}.x_proj.weight"]).split([s.dt_rank, s.states, s.states], -1)
        dt, b, c = (_norm(part, p[f"{at}.{n}_layernorm.weight"], s.eps) for part, n in zip(parts, ("dt", "b", "c")))
        dt = F.softplus(F.linear(dt, p[f"{at}.dt_proj.weight"], p[f"{at}.dt_proj.bias"]))
        self.ssm[i] = torch.exp(dt[..., None] * self.rate[i]) * self.ssm[i] + (dt * u)[..., None] * b[:, None]
        y = (self.ssm[i] * c[:, None]).sum(-1) + p[f"{at}.D"] * u
        return F.linear(y * F.silu(z), p[f"{at}.out_proj.weight"])

    def _attention(self, i, at, x):
        p, s = self.p, self.s
        q, k, v = (F.linear(x, p[f"{at}.{n}_proj.weight"]).view(len(x), -1, s.d // s.heads) for n in "qkv")
        self.keys[i].append(k)
        self.values[i].append(v)
        k, v = (
            torch.stack(y, 2).repeat_interleave(s.heads // s.kv_heads, 1) for y in (self.keys[i], self.values[i])
        )  # (B, H, T, dh)
        y = F.scaled_dot_product_attention(q[:, :, None], k, v)
        return F.linear(y.reshape(len(x), s.d), p[f"{at}.o_proj.weight"])

    @torch.no_grad()
    def step(self, ids: torch.Tensor) -> torch.Tensor:
        p, s = self.p, self.s
        x = p["model.embed_tokens.weight"][ids]
        for i in range(s.layers):
            at = f"model.layers.{i}"
            h = _norm(x, p[f"{at}.input_layernorm.weight"], s.eps)
            mix, name = (self._attention, "self_attn") if s.is_attention(i) else (self._mamba, "mamba")
            x = x + mix(i, f"{at}.{name}", h)
            h = _norm(x, p[f"{at}.pre_ff_layernorm.weight"], s.eps)
            at += ".feed_forward"
            if s.is_moe(i):
                y = model.moe(p, at, h[:, None], s)[0][:, 0]
            else:
                gate, up = F.linear(h, p[f"{at}.gate_up"]).chunk(2, -1)
                y = F.linear(F.silu(gate) * up, p[f"{at}.down_proj.weight"])
            x = x + y
        return F.linear(_norm(x, p["model.final_layernorm.weight"], s.eps), p["model.embed_tokens.weight"])


def chat_ids(sp, talk: list[tuple[str, str]]) -> list[int]:
    """A conversation in the template, open for the assistant's answer."""
    ids = [tokens.BOS]
    for role, text in talk:
        ids += [tokens.IM_START, *sp.encode(f"{role}\n{text}"), tokens.IM_END, *sp.encode("\n")]
    return ids + [tokens.IM_START, *sp.encode("assistant\n")]


def generate(params, shape, prompts: list[list[int]], new_max: int, temperature=0.0, seed=0) -> list[list[int]]:
    """New ids of every prompt, up to and without </s> or <|im_end|>; temperature 0: greedy."""
    decoder, rng = Decoder(params, shape, len(prompts)), torch.Generator().manual_seed(seed)
    out, open_rows = [[] for _ in prompts], [True] * len(prompts)
    ids = torch.tensor([p[0] for p in prompts])
    for step in range(1, max(map(len, prompts)) + new_max):
        scores = decoder.step(ids)
        if temperature > 0:
            ids = torch.multinomial(torch.softmax(scores / temperature, -1), 1, generator=rng)[:, 0]
        else:
            ids = scores.argmax(-1)
        for row, prompt in enumerate(prompts):
            if step < len(prompt):
                ids[row] = prompt[step]
            elif open_rows[row]:
                open_rows[row] = int(ids[row]) not in (tokens.EOS, tokens.IM_END) and len(out[row]) < new_max
                if open_rows[row]:
                    out[row].append(int(ids[row]))
        if not any(open_rows):
            break
    return out
