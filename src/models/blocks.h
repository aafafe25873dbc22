// Parts that several families share. Each appends ops to a builder and returns its output; names come from the family's own table.
#pragma once

#include <cmath>
#include <string>

#include "models/config.h"
#include "program/builder.h"

namespace sluice::models {

using program::Builder;
using program::kNoValue;
using program::Source;
using program::ValueId;

// kernels/glu's Activation.
inline constexpr int kSilu = 0;
inline constexpr int kGeluTanh = 1;

struct AttentionShape {
  uint64_t hidden = 0;
  uint64_t heads = 0;
  uint64_t kv_heads = 0;
  uint64_t head_dim = 0;
  double scale = 0;              // of q.k
  double softcap = 0;            // 0: none
  uint64_t window = 0;           // 0: all positions
  ValueId rope = kNoValue;       // table; kNoValue: no positions
  bool rope_interleaved = false;
  bool qkv_bias = false;
  bool out_bias = false;
  bool qk_norm = false;          // RMSNorm of q and k per head, before RoPE
  bool qk_norm_add_one = false;  // its weight is stored minus one
  double qk_norm_epsilon = 0;
};
// Causal attention with grouped heads over h [rows, hidden]: q, k, v, o projections under the names every Llama-like family uses.
ValueId attention(Builder& b, const LayerNames& name, const AttentionShape& shape, ValueId h);

// down(act(gate(h)) * up(h)); HF names prefix + {gate,up,down}_proj.weight, GGUF ffn_{gate,up,down}.weight.
ValueId gated_ffn(Builder& b, const LayerNames& name, std::string_view hf_prefix, uint64_t hidden, uint64_t inner, int activation, bool bias, ValueId h);

struct MoeShape {
  uint64_t hidden = 0;
  uint64_t inner = 0;
  uint64_t experts = 0;
  uint64_t chosen = 0;
  bool renormalize = false;
  int activation = kSilu;
  // HF names: the router, and a prefix under which experts lie as {e}.{gate,up,down}.weight or stacked as gate_up_proj and down_proj.
  std::string_view router = "mlp.gate.weight";
  std::string_view experts_prefix = "mlp.experts.";
  std::string_view gate = "gate_proj", up = "up_proj", down = "down_proj";
};
ValueId moe_ffn(Builder& b, const LayerNames& name, const MoeShape& shape, ValueId h);

struct MambaShape {
  uint64_t hidden = 0;
  uint64_t inner = 0;
  uint64_t states = 0;
  uint64_t taps = 0;
  uint64_t rank = 0;
  bool conv_bias = true;
  bool proj_bias = false;
  bool dt_b_c_norm = false;      // RMSNorm of dt, B and C
  bool dt_b_c_weights = false;   // with learned weights (Jamba); without (Falcon-Mamba)
  double dt_b_c_epsilon = 0;
};
// Mamba-1 mixer (Gu and Dao 2023, section 3); HF names under hf_prefix ("mamba." or "mixer.").
ValueId mamba(Builder& b, const LayerNames& name, std::string_view hf_prefix, const MambaShape& shape, ValueId h);

// The end of every model: chosen rows, final norm, head (tied to `table` or its own).
struct HeadShape {
  std::string norm;      // tensor name
  bool norm_add_one = false;
  double epsilon = 0;
  std::string head;      // tensor name; empty: tied
  double logit_scale = 1;
  double softcap = 0;
};
program::Program finish(Builder& b, ValueId x, ValueId table, const HeadShape& head, uint64_t layers);

// "model.layers.3." and "blk.3.attn".
std::string layer_prefix(std::string_view stem, uint64_t layer);
std::string layer_label(uint64_t layer, std::string_view part);

// Whether the head is the embedding table: tie_word_embeddings, or a GGUF file without output.weight.
Result<bool> tied_head(const Config& config, bool fallback);

}  // namespace sluice::models
