// Mixtral (Jiang et al. 2024): Llama's layer with a mixture of experts, the chosen ones' weights renormalised. In GGUF it is architecture "llama" with
// an expert count.
#include "models/family.h"
#include "models/frame.h"

namespace sluice::models {
namespace {

Result<program::Program> build_mixtral(const Config& c) {
  SLUICE_TRY(const Frame frame, frame_of(c, {.epsilon = 1e-5}));
  SLUICE_TRY(AttentionShape attend, attention_of(c, frame));
  SLUICE_TRY(attend.window, c.size_or("sliding_window", "attention.sliding_window", 0));
  SLUICE_TRY(const uint64_t pairs, rotary_pairs(c, attend.head_dim));
  SLUICE_TRY(const Rope rope, rope_of(c, pairs, c.is_gguf() ? 1e4 : 1e6, ""));
  MoeShape moe{.hidden = frame.hidden, .renormalize = true, .router = "block_sparse_moe.gate.weight", .experts_prefix = "block_sparse_moe.experts.",
               .gate = "w1", .up = "w3", .down = "w2"};
  SLUICE_TRY(moe.inner, c.size("intermediate_size", "feed_forward_length"));
  SLUICE_TRY(moe.activation, activation_of(c, "hidden_act", kSilu));
  SLUICE_TRY_VOID(read_experts(c, frame.layers, {.experts = "num_local_experts", .experts_alias = "num_experts", .experts_default = c.is_gguf() ? 0u : 8u,
                                                 .chosen_default = c.is_gguf() ? 0u : 2u}, moe));
  Builder b(frame.facts());
  attend.rope = rope_table(b, rope);
  attend.rope_interleaved = c.is_gguf();
  return assemble(c, frame, b, [&](const LayerNames& name) {
    return Layer{{"attn", [&](ValueId h) { return attention(b, name, attend, h); }}, {"moe", [&](ValueId h) { return moe_ffn(b, name, moe, h); }}};
  });
}

bool has_experts(const Config& c) {
  const auto* count = c.find("", "expert_count");
  return count != nullptr && *count != 0;
}

constexpr std::string_view kTypes[] = {"mixtral"};
constexpr std::string_view kArchitectures[] = {"llama"};

}  // namespace

extern const Family kMixtral = {"mixtral", kTypes, kArchitectures, build_mixtral, has_experts};

}  // namespace sluice::models
