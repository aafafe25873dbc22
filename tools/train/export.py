"""Checkpoint -> Hugging Face folder (published Jamba names) and GGUF (names of published Jamba GGUFs).

  export.py --checkpoint last.pt --tokenizer tokenizer.model --hf DIR --gguf FILE [--type q8_0|f32]

Q8_0: every matrix; F32: norms, convolution, ssm_a, ssm_d, biases, router. `--golden FILE` adds tokens
and f32 logits of the PyTorch model with the weights that the GGUF (or, with --type f32, the folder)
holds, for the engine to be compared with. Names: shared/reference/architectures.md section 2.
"""

import argparse
import json
import pathlib

import numpy as np
import safetensors.numpy
import torch

import gguf_file
import model
import tokenizer as tokens
import train

HERE = pathlib.Path(__file__).parent
NAME = "Sluice Jamba mini"


def load_checkpoint(path) -> tuple[model.Shape, dict[str, torch.Tensor], dict]:
    """(shape, master weights by training name, the whole checkpoint)."""
    checkpoint = torch.load(path, weights_only=True)
    shape = model.Shape(**checkpoint["config"]["model"])
    return shape, train.views(checkpoint["master"], model.parameter_shapes(shape)), checkpoint


def to_hf(params: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Training names -> published names, one matrix each, f32."""
    out = {}
    for name, tensor in params.items():
        x = tensor.detach().float().numpy()
        stem = name.rsplit(".", 1)[0]
        if name.endswith("in_proj_x"):
            z = params[stem + ".in_proj_z"].detach().float().numpy()
            out[stem + ".in_proj.weight"] = np.concatenate([x, z])
        elif name.endswith("in_proj_z"):
            continue
        elif name.endswith("conv1d.weight"):
            out[name] = x[:, None]
        elif name.endswith("experts.gate_up"):
            for e, both in enumerate(x):
                gate, up = np.split(both, 2)
                out[f"{stem}.{e}.gate_proj.weight"], out[f"{stem}.{e}.up_proj.weight"] = gate, up
        elif name.endswith("experts.down"):
            for e, down in enumerate(x):
                out[f"{stem}.{e}.down_proj.weight"] = down
        elif name.endswith("gate_up"):
            out[stem + ".gate_proj.weight"], out[stem + ".up_proj.weight"] = np.split(x, 2)
        else:
            out[name] = x
    return {k: np.ascontiguousarray(v) for k, v in out.items()}


def hf_config(s: model.Shape) -> dict:
    return {
        "architectures": ["JambaForCausalLM"],
        "model_type": "jamba",
        "hidden_size": s.d,
        "intermediate_size": s.d_ff,
        "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads,
        "num_key_value_heads": s.kv_heads,
        "vocab_size": s.vocab,
        "hidden_act": "silu",
        "attn_layer_period": s.attn_period,
        "attn_layer_offset": s.attn_offset,
        "expert_layer_period": s.expert_period,
        "expert_layer_offset": s.expert_offset,
        "num_experts": s.experts,
        "num_experts_per_tok": s.top_k,
        "rms_norm_eps": s.eps,
        "mamba_d_state": s.states,
        "mamba_d_conv": s.taps,
        "mamba_expand": s.d_inner // s.d,
        "mamba_dt_rank": s.dt_rank,
        "mamba_conv_bias": True,
        "mamba_proj_bias": False,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "use_mamba_kernels": False,
        "bos_token_id": tokens.BOS,
        "eos_token_id": tokens.EOS,
        "pad_token_id": 0,
        "torch_dtype": "float32",
    }


def special(content: str, is_special: bool = True) -> dict:
    return {
        "content": content,
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
        "special": is_special,
    }


def write_hf(folder: pathlib.Path, s: model.Shape, params, tokenizer_path: pathlib.Path):
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(to_hf(params), folder / "model.safetensors", {"format": "pt"})
    (folder / "tokenizer.model").write_bytes(tokenizer_path.read_bytes())
    template = (HERE / "chat_template.jinja").read_text()
    added = {"0": "<unk>", "1": "<s>", "2": "</s>", "3": "<|im_start|>", "4": "<|im_end|>"}
    files = {
        "config.json": hf_config(s),
        "generation_config.json": {
            "bos_token_id": tokens.BOS,
            "eos_token_id": [tokens.EOS, tokens.IM_END],
            "do_sample": True,
            "temperature": 0.8,
            "top_p": 0.95,
        },
        "special_tokens_map.json": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        "tokenizer_config.json": {
            "tokenizer_class": "LlamaTokenizer",
            "legacy": False,
            "add_prefix_space": False,
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "chat_template": template,
            "clean_up_tokenization_spaces": False,
            "added_tokens_decoder": {k: special(v) for k, v in added.items()} | {"5": special("\n", False)},
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


def token_table(path) -> tuple[list[str], list[float], list[int]]:
    """Pieces, scores and GGUF token types (1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte)."""
    sp = tokens.load(path)
    pieces, scores, types = [], [], []
    for i in range(sp.get_piece_size()):
        piece = sp.id_to_piece(i)
        kind = 2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1
        pieces.append(piece)
        scores.append(sp.get_score(i))
        types.append(4 if piece == "\n" else kind)
    return pieces, scores, types


def gguf_keys(s: model.Shape, tokenizer_path, file_type: int) -> dict:
    g = gguf_file
    pieces, scores, types = token_table(tokenizer_path)
    kv = [s.kv_heads if s.is_attention(i) else 0 for i in range(s.layers)]
    numbers = {
        "block_count": s.layers,
        "context_length": 2048,
        "embedding_length": s.d,
        "feed_forward_length": s.d_ff,
        "attention.head_count": s.heads,
        "ssm.conv_kernel": s.taps,
        "ssm.inner_size": s.d_inner,
        "ssm.state_size": s.states,
        "ssm.time_step_rank": s.dt_rank,
        "expert_count": s.experts,
        "expert_used_count": s.top_k,
    }
    ids = {"bos": tokens.BOS, "eos": tokens.EOS, "eot": tokens.IM_END, "unknown": 0}
    return {
        "general.architecture": (g.STRING, "jamba"),
        "general.type": (g.STRING, "model"),
        "general.name": (g.STRING, NAME),
        "general.license": (g.STRING, "apache-2.0"),
        "general.file_type": (g.U32, file_type),
        "general.quantization_version": (g.U32, 2),
        "general.sampling.temp": (g.FLOAT, 0.8),
        "general.sampling.top_p": (g.FLOAT, 0.95),
        **{f"jamba.{k}": (g.U32, v) for k, v in numbers.items()},
        "jamba.attention.head_count_kv": (g.ARRAY, g.I32, kv),
        "jamba.attention.layer_norm_rms_epsilon": (g.FLOAT, s.eps),
        "tokenizer.ggml.model": (g.STRING, "llama"),
        "tokenizer.ggml.pre": (g.STRING, "default"),
        "tokenizer.ggml.tokens": (g.ARRAY, g.STRING, pieces),
        "tokenizer.ggml.scores": (g.ARRAY, g.FLOAT, scores),
        "tokenizer.ggml.token_type": (g.ARRAY, g.I32, types),
        **{f"tokenizer.ggml.{k}_token_id": (g.U32, v) for k, v in ids.items()},
        "tokenizer.ggml.add_bos_token": (g.BOOL, True),
        "tokenizer.ggml.add_eos_token": (g.BOOL, False),
        "tokenizer.ggml.add_space_prefix": (g.BOOL, False),
        "tokenizer.chat_template": (g.STRING, (HERE / "chat_template.jinja").read_text()),
    }


LAYER_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "pre_ff_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mamba.conv1d.weight": "ssm_conv1d.weight",
    "mamba.conv1d.bias": "ssm_conv1d.bias",
    "mamba.x_proj.weight": "ssm_x.weight",
    "mamba.dt_proj.weight": "ssm_dt.weight",
    "mamba.dt_proj.bias": "ssm_dt.bias",
    "mamba.dt_layernorm.weight": "ssm_dt_norm.weight",
    "mamba.b_layernorm.weight": "ssm_b_norm.weight",
    "mamba.c_layernorm.weight": "ssm_c_norm.weight",
    "mamba.D": "ssm_d",
    "mamba.out_proj.weight": "ssm_out.weight",
    "feed_forward.router.weight": "ffn_gate_inp.weight",
    "feed_forward.experts.down": "ffn_down_exps.weight",
    "feed_forward.down_proj.weight": "ffn_down.weight",
}
TOP_NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.final_layernorm.weight": "output_norm.weight"}
QUANTISED = (
    "token_embd",
    "attn_q.",
    "attn_k.",
    "attn_v.",
    "attn_output",
    "ssm_in",
    "ssm_x.",
    "ssm_dt.weight",
    "ssm_out",
    "ffn_gate.",
    "ffn_up",
    "ffn_down",
    "ffn_gate_exps",
)


def to_gguf(params: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Training names -> GGUF names and shapes (row-major), f32."""
    out = {}
    for name, tensor in params.items():
        x = tensor.detach().float().numpy()
        if name in TOP_NAMES:
            out[TOP_NAMES[name]] = x
            continue
        _, _, layer, inner = name.split(".", 3)
        at = f"blk.{layer}."
        if inner == "mamba.in_proj_x":
            z = params[name[:-1] + "z"].detach().float().numpy()
            out[at + "ssm_in.weight"] = np.concatenate([x, z])
        elif inner == "mamba.in_proj_z":
            continue
        elif inner == "mamba.A_log":
            out[at + "ssm_a"] = -np.exp(x)
        elif inner.endswith("gate_up"):
            gate, up = np.split(x, 2, axis=-2)
            end = "_exps.weight" if "experts" in inner else ".weight"
            out[at + "ffn_gate" + end], out[at + "ffn_up" + end] = gate, up
        else:
            out[at + LAYER_NAMES[inner]] = x
    return out


def from_gguf(tensors: dict[str, np.ndarray], s: model.Shape) -> dict[str, torch.Tensor]:
    """The inverse of to_gguf: GGUF tensors -> training names."""
    out, back = {}, {v: k for k, v in (LAYER_NAMES | TOP_NAMES).items()}
    for name in model.parameter_shapes(s):
        if name in TOP_NAMES:
            out[name] = tensors[TOP_NAMES[name]]
            continue
        _, _, layer, inner = name.split(".", 3)
        at = f"blk.{layer}."
        if "in_proj_" in inner:
            x, z = np.split(tensors[at + "ssm_in.weight"], 2)
            out[name] = x if inner.endswith("x") else z
        elif inner == "mamba.A_log":
            out[name] = np.log(-tensors[at + "ssm_a"])
        elif inner.endswith("gate_up"):
            end = "_exps.weight" if "experts" in inner else ".weight"
            out[name] = np.concatenate([tensors[at + "ffn_gate" + end], tensors[at + "ffn_up" + end]], -2)
        else:
            out[name] = tensors[at + LAYER_NAMES[inner]]
    assert len(back) == len(LAYER_NAMES) + len(TOP_NAMES)
    return {k: torch.from_numpy(np.array(v, np.float32)) for k, v in out.items()}


def write_gguf(path, s: model.Shape, params, tokenizer_path, q8: bool):
    tensors = [
        (
            name,
            array,
            (
                gguf_file.Q8_0
                if q8 and name.split(".", 2)[-1].startswith(QUANTISED) or q8 and name.startswith("token_embd")
                else gguf_file.F32
            ),
        )
        for name, array in to_gguf(params).items()
    ]
    gguf_file.write(path, gguf_keys(s, tokenizer_path, 7 if q8 else 0), tensors)


def write_golden(path, s: model.Shape, params, tokenizer_path):
    """tokens (T) int32 and logits (T, V) f32 of a plain passage and of a chat prompt."""
    sp = tokens.load(tokenizer_path)
    text = (
        "Once upon a time there was a little girl who lived in a house by the sea. "
        '"What is it?" she asked.\nThe old man looked at her, and said nothing for a long while.'
    )
    chat = [
        tokens.BOS,
        tokens.IM_START,
        *sp.encode("user\nTell me a story about a fox."),
        tokens.IM_END,
        *sp.encode("\n"),
        tokens.IM_START,
        *sp.encode("assistant\n"),
    ]
    out = {}
    for name, ids in {"text": [tokens.BOS, *sp.encode(text)], "chat": chat}.items():
        with torch.no_grad():
            got = model.logits(params, torch.tensor([ids]), s)[0]
        out[f"{name}.tokens"], out[f"{name}.logits"] = np.array(ids, np.int32), got.numpy()
    safetensors.numpy.save_file(out, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--hf", type=pathlib.Path)
    parser.add_argument("--gguf", type=pathlib.Path)
    parser.add_argument("--type", choices=["q8_0", "f32"], default="q8_0")
    parser.add_argument("--golden", type=pathlib.Path)
    args = parser.parse_args()
    shape, params, checkpoint = load_checkpoint(args.checkpoint)
    print(f"step {checkpoint['step']}, {checkpoint['tokens'] / 1e6:.2f} M tokens")
    if args.hf:
        write_hf(args.hf, shape, params, args.tokenizer)
    if args.gguf:
        write_gguf(args.gguf, shape, params, args.tokenizer, args.type == "q8_0")
        params = from_gguf(gguf_file.read(args.gguf)[1], shape)
        print(f"{args.gguf}: {args.gguf.stat().st_size / 1e6:.2f} MB")
    if args.golden:
        write_golden(args.golden, shape, params, args.tokenizer)


if __name__ == "__main__":
    main()
