// The frame that most families share: embedding; for each layer a mixer and a feed-forward part, each with its norms and its residual; last norm; head.
// A family reads its fields with the functions below (they check each against the others, so nothing later can divide by zero or overflow), says which
// parts its layers have, and calls assemble().
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "models/blocks.h"
#include "models/config.h"
#include "models/rope.h"
#include "program/builder.h"

namespace sluice::models {

struct Frame {
  uint64_t hidden = 0, layers = 0, vocabulary = 0, context = 0;
  double epsilon = 0;
  bool tied = false;
  std::string stem = "model.";  // what Hugging Face names begin with
  std::string head_stem;        // likewise the head's
  std::string_view table = "embed_tokens.weight", last_norm = "norm.weight";
  // Hugging Face names of a layer's norms before and after each part; empty: that norm does not exist. In GGUF they are attn_norm, post_attention_norm,
  // ffn_norm and post_ffw_norm in every family.
  std::string_view mixer_norm = "input_layernorm.weight", mixer_post_norm;
  std::string_view ffn_norm = "post_attention_layernorm.weight", ffn_post_norm;
  bool norm_add_one = false;  // stored minus one
  double embed_scale = 1;
  double softcap = 0;  // of the logits; 0: none

  program::ModelFacts facts() const { return {.layers = layers, .vocabulary = vocabulary, .context_max = context, .hidden = hidden}; }
};

// What a family's own configuration class takes for fields that a file leaves out; 0: it must not.
struct FrameDefaults {
  uint64_t hidden = 0, layers = 0, vocabulary = 0;
  std::string_view epsilon_field = "rms_norm_eps";
  double epsilon = 1e-6;
  bool tied = false;
};
Result<Frame> frame_of(const Config& config, const FrameDefaults& defaults = {});

struct AttentionDefaults {
  uint64_t heads = 0, kv_heads = 0, head_dim = 0;  // kv_heads 0: as many as heads; head_dim 0: hidden / heads
  std::string_view kv_heads_gguf = "attention.head_count_kv";
};
// Heads, scale 1/sqrt(head_dim) and biases as the file says (attention_bias; the tensors that are there in GGUF).
Result<AttentionShape> attention_of(const Config& config, const Frame& frame, const AttentionDefaults& defaults = {});

// Half of the rotated dimensions of a head: all of them unless GGUF's rope.dimension_count says fewer.
Result<uint64_t> rotary_pairs(const Config& config, uint64_t head_dim);

// The window of each layer, 0: none. layer_types decides where there is one, else `slides`.
Result<std::vector<uint64_t>> windows_of(const Config& config, uint64_t layers, uint64_t window, const std::function<bool(uint64_t)>& slides);

// Qwen's way of saying it: sliding_window counts only with use_sliding_window, on layers from max_window_layers on.
Result<std::vector<uint64_t>> qwen_windows_of(const Config& config, uint64_t layers);

// Sets experts and chosen of `moe`, checked against each other and against the layers. Fields: the first of the two names that is there, top-k.
struct MoeFields {
  std::string_view experts = "num_experts", experts_alias = "num_local_experts", chosen = "num_experts_per_tok";
  uint64_t experts_default = 0, chosen_default = 0;
};
Status read_experts(const Config& config, uint64_t layers, const MoeFields& fields, MoeShape& moe);

// kSilu or kGeluTanh; an activation that is neither is an error. GGUF does not say: `fallback`.
Result<int> activation_of(const Config& config, std::string_view field, int fallback);

// Sizes that the scan's kernels and state can hold.
Status check_mamba(const MambaShape& shape);

struct Part {
  std::string_view label;                  // of its ops: "blk.3.<label>"
  std::function<ValueId(ValueId)> build;  // normed input to output, before the residual; empty: the layer has no such part
};
struct Layer {
  Part mixer, ffn;
};
program::Program assemble(const Config& config, const Frame& frame, Builder& b, const std::function<Layer(const LayerNames&)>& layer);

}  // namespace sluice::models
