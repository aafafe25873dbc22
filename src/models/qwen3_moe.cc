// Qwen3-MoE: Qwen3's attention with a mixture of experts in place of the feed-forward part, on all layers but those that the file exempts.
#include <fmt/format.h>

#include "models/family.h"
#include "models/frame.h"

namespace sluice::models {
namespace {

// Which layers have experts: a period and a list of exceptions in config.json, tensor names in GGUF.
Result<std::vector<bool>> expert_layers_of(const Config& c, uint64_t layers) {
  SLUICE_TRY(const uint64_t period, c.positive_or("decoder_sparse_step", "", 1));
  const nlohmann::json* dense = c.find("mlp_only_layers", "");
  if (dense != nullptr && !dense->is_array()) return Error{"model configuration: mlp_only_layers must be an array of layer numbers"};
  std::vector<bool> out;
  for (uint64_t i = 0; i < layers; ++i) {
    out.push_back((i + 1) % period == 0 && (!c.is_gguf() || c.has(fmt::format("blk.{}.ffn_gate_inp.weight", i))));
  }
  if (dense == nullptr) return out;
  for (const nlohmann::json& layer : *dense) {
    if (layer.is_number_unsigned() && layer.get<uint64_t>() < layers) out[layer.get<uint64_t>()] = false;
  }
  return out;
}

Result<MoeShape> experts_of(const Config& c, const Frame& frame) {
  MoeShape moe{.hidden = frame.hidden};
  SLUICE_TRY(moe.inner, c.size("moe_intermediate_size", "expert_feed_forward_length"));
  SLUICE_TRY(moe.activation, activation_of(c, "hidden_act", kSilu));
  // Published models renormalise and say so in config.json, whose own default is not to; GGUF files leave it out.
  SLUICE_TRY(moe.renormalize, c.flag_or("norm_topk_prob", "expert_weights_norm", c.is_gguf()));
  SLUICE_TRY_VOID(read_experts(c, frame.layers, {.experts_default = c.is_gguf() ? 0u : 128u, .chosen_default = c.is_gguf() ? 0u : 8u}, moe));
  return moe;
}

Result<program::Program> build_qwen3_moe(const Config& c) {
  SLUICE_TRY(const Frame frame, frame_of(c));
  SLUICE_TRY(AttentionShape attend, attention_of(c, frame));
  attend.qk_norm = true;
  attend.qk_norm_epsilon = frame.epsilon;
  SLUICE_TRY(const bool slides, c.flag_or("use_sliding_window", "", false));
  SLUICE_TRY(const uint64_t window, c.size_or("sliding_window", "", 0));
  attend.window = slides ? window : 0;
  SLUICE_TRY(const MoeShape moe, experts_of(c, frame));
  SLUICE_TRY(const uint64_t inner, c.positive_or("intermediate_size", "feed_forward_length", moe.inner));
  SLUICE_TRY(const std::vector<bool> has_experts, expert_layers_of(c, frame.layers));
  SLUICE_TRY(const uint64_t pairs, rotary_pairs(c, attend.head_dim));
  SLUICE_TRY(const Rope rope, rope_of(c, pairs, 10000.0, ""));
  Builder b(frame.facts());
  attend.rope = rope_table(b, rope);
  return assemble(c, frame, b, [&](const LayerNames& name) {
    Layer layer{{"attn", [&](ValueId h) { return attention(b, name, attend, h); }}, {"moe", [&](ValueId h) { return moe_ffn(b, name, moe, h); }}};
    if (!has_experts[name.layer]) {
      layer.ffn = {"ffn", [&](ValueId h) { return gated_ffn(b, name, "mlp.", frame.hidden, inner, moe.activation, false, h); }};
    }
    return layer;
  });
}

constexpr std::string_view kTypes[] = {"qwen3_moe"};
constexpr std::string_view kArchitectures[] = {"qwen3moe"};

}  // namespace

extern const Family kQwen3Moe = {"qwen3-moe", kTypes, kArchitectures, build_qwen3_moe};

}  // namespace sluice::models
