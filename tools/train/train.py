"""Training: seeded, resumable, data-parallel over processes that share one set of weights.

Every worker computes the gradient of its sequences with one thread, writes it into shared memory,
updates its share of the parameters and reads the others'. Three meetings a step instead of one an
operation: on a machine with other work this is what keeps both cores busy.

Rate: warm-up, constant, then (with --decay-steps or --decay-minutes) linear to zero. The constant
part can be resumed at any time; a published model is a branch of it with its own decay.
Writes OUT/last.pt (atomically), OUT/log.jsonl. Next: evaluate.py, export.py.
"""

import argparse
import json
import os
import pathlib
import threading
import time
import tomllib

import torch
import torch.multiprocessing as mp

import data
import model
import optim


def views(flat: torch.Tensor, shapes: dict) -> dict[str, torch.Tensor]:
    """Named views of a flat buffer, in the order of shapes."""
    out, at = {}, 0
    for name, shape in shapes.items():
        size = torch.Size(shape).numel()
        out[name] = flat[at : at + size].view(shape)
        at += size
    return out


def has_bf16(device: str) -> bool:
    """bf16 only where the CPU multiplies it: elsewhere oneDNN is 20 times slower than f32."""
    if device != "cpu":
        return True
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def rate_at(step: int, train: dict, decay: dict | None) -> float:
    """Learning rate of a step (counted from 0)."""
    rate = train["rate"] * min(1.0, (step + 1) / train["warmup"])
    if decay is None:
        return rate
    done = (
        (step - decay["start"]) / decay["steps"]
        if decay["steps"]
        else (time.time() - decay["began"]) / decay["seconds"]
    )
    return rate * max(0.0, 1.0 - done)


class State:
    """The buffers that all workers share: master weights, optimiser moments, bf16 copies, gradients.

    In shared memory on the CPU; on a GPU (one worker) in its memory.
    """

    def __init__(self, shape: model.Shape, workers: int, seed: int, device: str):
        self.shapes = model.parameter_shapes(shape)
        total = sum(torch.Size(x).numel() for x in self.shapes.values())

        def room(*size, dtype=torch.float32):
            made = torch.zeros(*size, dtype=dtype, device=device)
            return made.share_memory_() if device == "cpu" else made

        self.master, self.momentum, self.variance = room(total), room(total), room(total)
        self.half, self.grads = room(total, dtype=torch.bfloat16), room(workers, total)
        self.meters = torch.zeros(workers, 3, dtype=torch.float64).share_memory_()
        rng = torch.Generator().manual_seed(seed)
        for name, view in views(self.master, self.shapes).items():
            view.copy_(model.initial(name, self.shapes[name], shape, rng))
        self.half.copy_(self.master)

    def start(self, weights: dict[str, torch.Tensor]):
        for name, view in views(self.master, self.shapes).items():
            view.copy_(weights[name])
        self.half.copy_(self.master)

    def load(self, checkpoint: dict):
        assert checkpoint["names"] == list(self.shapes), "checkpoint of another shape"
        self.master.copy_(checkpoint["master"])
        self.momentum.copy_(checkpoint["momentum"])
        self.variance.copy_(checkpoint["variance"])
        self.half.copy_(self.master)


def save(path: pathlib.Path, state: State, config: dict, progress: dict):
    """One file, replaced atomically: an interruption leaves the one before."""
    torch.save(
        {
            "names": list(state.shapes),
            "master": state.master,
            "momentum": state.momentum,
            "variance": state.variance,
            "config": config,
            **progress,
        },
        path.with_suffix(".tmp"),
    )
    os.replace(path.with_suffix(".tmp"), path)


def leaves(state: State, dtype) -> dict[str, torch.Tensor]:
    """What autograd sees, all views of the shared buffers: matrices in dtype, everything else f32."""
    master, half = views(state.master, state.shapes), views(state.half, state.shapes)
    chosen = {n: half[n] if model.is_matrix(n) and dtype == torch.bfloat16 else master[n] for n in state.shapes}
    return {n: x.detach().requires_grad_() for n, x in chosen.items()}


def gguf_weights(path: pathlib.Path, tokenizer: pathlib.Path) -> dict[str, torch.Tensor]:
    """Weights of one of our GGUF files; embedding rows go by piece, for the tokenizer may be another.

    A piece that the file does not know starts as the mean of the longest pieces it falls into.
    """
    import evaluate  # evaluate.py and export.py stand on this file
    import gguf_file
    import tokenizer as tokens

    weights, known = evaluate.load(path)[1], gguf_file.read(path)[0]["tokenizer.ggml.tokens"]
    known = {piece: i for i, piece in enumerate(known)}
    sp, rows = tokens.load(tokenizer), []
    for piece in (sp.id_to_piece(i) for i in range(sp.get_piece_size())):
        parts, at = [], 0
        while at < len(piece):
            end = next((e for e in range(len(piece), at, -1) if piece[at:e] in known), at + 1)
            parts.append(known.get(piece[at:end], 0))
            at = end
        rows.append(weights["model.embed_tokens.weight"][parts].mean(0))
    return weights | {"model.embed_tokens.weight": torch.stack(rows)}


def start_decay(args, progress: dict) -> dict | None:
    """What rate_at needs for the falling part; a resumed decay goes on where its clock stood."""
    if not args.decay:
        return None
    fresh = {"start": progress["step"], "steps": args.decay_steps, "seconds": 60 * args.decay_minutes, "elapsed": 0.0}
    decay = fresh | progress.get("decay", {})
    return decay | {"began": time.time() - decay["elapsed"]}


def update(optimizer, own, grads, master, half, meters, rank, barrier, clip, rate, count) -> float:
    """Averages the workers' gradients of `own`, clips by the norm of all, steps; returns that norm."""
    mean = {n: sum(g[n] for g in grads) / len(grads) for n in own}
    meters[rank, 1] = sum(float(g.square().sum()) for g in mean.values())
    barrier.wait()
    norm = float(meters[:, 1].sum()) ** 0.5
    if norm > clip:
        for g in mean.values():
            g.mul_(clip / norm)
    with torch.no_grad():
        optimizer.step(mean, rate, count)
        for name in own:
            half[name].copy_(master[name])
    return norm


def work(rank: int, config: dict, args, state: State, barrier, progress: dict):
    """One worker's loop; rank 0 also logs and saves."""
    train, shape = config["train"], model.Shape(**config["model"])
    workers, device = train["workers"], train["device"]
    dtype = torch.bfloat16 if has_bf16(device) else torch.float32
    torch.set_num_threads(1)
    params = leaves(state, dtype)
    own = optim.share(state.shapes, workers)[rank]
    master, half, momentum, variance = (
        views(x, state.shapes) for x in (state.master, state.half, state.momentum, state.variance)
    )
    grads = [views(row, state.shapes) for row in state.grads]
    optimizer = optim.Optimizer(own, master, momentum, variance, train["weight_decay"], train["newton_schulz"], dtype)
    mix = config["decay_mix" if args.decay else "mix"]
    windows = data.Windows(args.tokens, mix, train["window"], config["seed"], train["soft"] > 0)
    windows.counters.update({k: v for k, v in progress["counters"].items() if k in windows.counters})
    decay = start_decay(args, progress)
    log = open(args.out / "log.jsonl", "a") if rank == 0 else None
    per, began, saved = train["batch"] // workers, time.time(), time.time()
    trained, step = progress["tokens"], progress["step"]
    while True:
        state.meters[rank, 2] = rate_at(step, train, decay)
        barrier.wait()
        rate = float(state.meters[0, 2])  # the clock of rank 0 decides
        if (args.steps and step >= args.steps) or rate <= 0:
            break
        tokens, targets, soft, again = windows.draw(step, train["batch"])
        mine = slice(rank * per, (rank + 1) * per)
        drawn = None if soft is None else soft[mine].to(device)
        share = train["soft"] * min(1.0, rate / train["rate"]) if decay else train["soft"]
        avoid = again[mine].to(device) if train["unlikely"] > 0 else None
        given = params, tokens[mine].to(device), targets[mine].to(device), shape, dtype, train["balance"]
        total, plain, loads = model.loss(*given, drawn, share, avoid, train["unlikely"])
        total.backward()
        for name, leaf in params.items():
            grads[rank][name].copy_(leaf.grad)
            leaf.grad = None
        state.meters[rank, 0] = float(plain)
        barrier.wait()
        norm = update(
            optimizer, own, grads, master, half, state.meters, rank, barrier, train["clip"], rate, step + 1
        )
        loss = float(state.meters[:, 0].mean())
        step, trained = step + 1, trained + tokens.numel()
        barrier.wait()
        if rank == 0:
            least = float(loads.min() * shape.experts) if loads is not None else 1.0
            line = {"step": step, "tokens": trained, "loss": round(loss, 5), "rate": rate, "norm": round(norm, 4)}
            line |= {"load_min": round(least, 3), "seconds": round(time.time() - began, 1)}
            log.write(json.dumps(line) + "\n")
            log.flush()
        if time.time() - saved > 60 * train["save_minutes"] and rank == 0:
            saved = time.time()
            save(args.out / "last.pt", state, config, _progress(step, trained, windows, decay))
    if rank == 0:
        save(args.out / "last.pt", state, config, _progress(step, trained, windows, decay))


def _progress(step, trained, windows, decay) -> dict:
    out = {"step": step, "tokens": trained, "counters": dict(windows.counters)}
    if decay:
        out["decay"] = decay | {"elapsed": time.time() - decay["began"]}
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=pathlib.Path, required=True, help="folder of tokenizer.py")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--branch", type=pathlib.Path, help="start from this checkpoint, not OUT/last.pt")
    parser.add_argument("--start", type=pathlib.Path, help="weights of step 0: one of our GGUF files, moments empty")
    parser.add_argument("--steps", type=int, default=0, help="stop at this step (0: go on)")
    parser.add_argument("--decay-steps", type=int, default=0)
    parser.add_argument("--decay-minutes", type=float, default=0)
    args = parser.parse_args()
    args.decay = bool(args.decay_steps or args.decay_minutes)
    args.out.mkdir(parents=True, exist_ok=True)
    config = tomllib.loads(args.config.read_text())
    workers, device = config["train"]["workers"], config["train"]["device"]
    assert device == "cpu" or workers == 1, "several workers share the CPU's memory only"
    state = State(model.Shape(**config["model"]), workers, config["seed"], device)
    progress = {"step": 0, "tokens": 0, "counters": {}}
    last = args.out / "last.pt"
    source = last if last.exists() else args.branch
    if not source and args.start:
        state.start(gguf_weights(args.start, args.tokens / "tokenizer.model"))
        print(f"weights of {args.start}")
    if source:
        checkpoint = torch.load(source, weights_only=True, map_location="cpu")
        state.load(checkpoint)
        progress = {k: checkpoint[k] for k in ("step", "tokens", "counters", "decay") if k in checkpoint}
        print(f"resuming {source} at step {progress['step']}, {progress['tokens'] / 1e6:.2f} M tokens")
    if workers == 1:
        work(0, config, args, state, threading.Barrier(1), progress)
    else:
        barrier = mp.get_context("spawn").Barrier(workers)
        mp.spawn(work, (config, args, state, barrier, progress), nprocs=workers)


if __name__ == "__main__":
    main()
