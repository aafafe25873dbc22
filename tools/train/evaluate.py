"""Bits per byte on the three held-out books, expert load and use, from a checkpoint or a GGUF.

  evaluate.py --model last.pt|model.gguf --tokens DIR [--windows N]

Windows of 512 tokens, each from an empty state, every token but the first of a window predicted and
its bytes counted; f32 on the CPU. Reports each book, their mean, the least expert load (share of the
fair 1/E), and how far the router follows the position (mutual information in bits, sliced by
position mod 8 and by tokens since the last sentence end).
"""

import argparse
import json
import math
import pathlib

import numpy as np
import torch

import export
import gguf_file
import model
import tokenizer as tokens


def load(path: pathlib.Path) -> tuple[model.Shape, dict[str, torch.Tensor]]:
    """(shape, f32 parameters) of a checkpoint or of one of our GGUF files."""
    if path.suffix != ".gguf":
        return export.load_checkpoint(path)[:2]
    keys, tensors = gguf_file.read(path)
    kv = keys["jamba.attention.head_count_kv"]
    attention = [i for i, n in enumerate(kv) if n]
    period = attention[1] - attention[0] if len(attention) > 1 else len(kv)
    shape = model.Shape(
        vocab=len(keys["tokenizer.ggml.tokens"]),
        d=keys["jamba.embedding_length"],
        layers=len(kv),
        heads=keys["jamba.attention.head_count"],
        kv_heads=max(kv),
        d_ff=keys["jamba.feed_forward_length"],
        experts=keys["jamba.expert_count"],
        top_k=keys["jamba.expert_used_count"],
        attn_period=period,
        attn_offset=attention[0],
        d_inner=keys["jamba.ssm.inner_size"],
        dt_rank=keys["jamba.ssm.time_step_rank"],
        states=keys["jamba.ssm.state_size"],
    )
    return shape, export.from_gguf(tensors, shape)


def piece_bytes(sp) -> np.ndarray:
    """UTF-8 bytes of every piece; control pieces count none."""
    sizes = []
    for i in range(sp.get_piece_size()):
        piece = sp.id_to_piece(i)
        none = sp.is_control(i) or sp.is_unknown(i)
        sizes.append(1 if sp.is_byte(i) else 0 if none else len(piece.replace("\u2581", " ").encode()))
    return np.array(sizes)


@torch.no_grad()
def bits_per_byte(params, shape, ids: np.ndarray, sizes: np.ndarray, window=512, limit=0) -> float:
    """ids: tokens of one book; limit: at most so many windows (0: all)."""
    count = (len(ids) - 1) // window
    rows = np.stack([ids[i * window : (i + 1) * window] for i in range(min(count, limit or count))])
    nats = size = 0.0
    for batch in np.array_split(rows, math.ceil(len(rows) / 8)):
        t = torch.from_numpy(batch.astype(np.int64))
        out = torch.log_softmax(model.logits(params, t, shape), -1)
        nats -= float(out[:, :-1].gather(-1, t[:, 1:, None]).double().sum())
        size += float(sizes[batch[:, 1:]].sum())
    return nats / math.log(2) / size


def information(choice: np.ndarray, label: np.ndarray) -> float:
    """Mutual information of two integer arrays, in bits."""
    joint = np.zeros((choice.max() + 1, label.max() + 1))
    np.add.at(joint, (choice, label), 1)
    joint /= joint.sum()
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log2(joint[seen] / outer[seen])).sum())


@torch.no_grad()
def expert_use(params, shape, ids: np.ndarray, sp, window=512, count=64) -> dict:
    """Load of every MoE layer, and what the first choice shares with position and with the token."""
    rows = np.stack([ids[i * window : (i + 1) * window] for i in range(count)])
    ends = {i for i in range(sp.get_piece_size()) if sp.id_to_piece(i)[-1:] in ".!?\n"}
    since = np.zeros_like(rows, dtype=np.int64)
    for row, out in zip(rows, since):
        for i in range(1, window):
            out[i] = 0 if int(row[i - 1]) in ends else min(out[i - 1] + 1, 31)
    chosen = []
    original = model.moe

    def spy(p, at, x, s):
        prob = torch.nn.functional.linear(x.reshape(-1, s.d).float(), p[f"{at}.router.weight"])
        chosen.append(prob.topk(s.top_k, -1).indices)
        return original(p, at, x, s)

    model.moe = spy
    try:
        model.hidden_states(params, torch.from_numpy(rows.astype(np.int64)), shape, torch.float32)
    finally:
        model.moe = original
    layers = []
    for ids_of in chosen:
        load = torch.bincount(ids_of.reshape(-1), minlength=shape.experts).float()
        first = ids_of[:, 0].numpy()
        layers.append(
            {
                "least_of_fair": round(float(load.min() / load.mean()), 3),
                "most_of_fair": round(float(load.max() / load.mean()), 3),
                "bits_with_position": round(information(first, np.tile(np.arange(window) // 32, count)), 4),
                "bits_with_place_in_sentence": round(information(first, since.reshape(-1)), 4),
                "bits_with_token": round(information(first, rows.reshape(-1).astype(np.int64)), 4),
            }
        )
    return {"layers": layers, "least_of_fair": min(x["least_of_fair"] for x in layers)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=pathlib.Path, required=True)
    parser.add_argument("--windows", type=int, default=0, help="at most so many a book")
    parser.add_argument("--load", action="store_true", help="expert load and use too")
    args = parser.parse_args()
    shape, params = load(args.model)
    sp = tokens.load(args.tokens / "tokenizer.model")
    sizes = piece_bytes(sp)
    books = [np.load(args.tokens / f"heldout-{i}.npy") for i in range(3)]
    bits = [bits_per_byte(params, shape, ids, sizes, limit=args.windows) for ids in books]
    report = {"books": [round(b, 4) for b in bits], "mean": round(sum(bits) / 3, 4)}
    if args.load:
        report["experts"] = expert_use(params, shape, books[0], sp)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
