// Qwen3 (dense): Llama's layer with an RMSNorm of q and k over each head before RoPE, and a head dimension of its own.
#include "models/family.h"
#include "models/frame.h"

namespace sluice::models {
namespace {

Result<program::Program> build_qwen3(const Config& c) {
  SLUICE_TRY(const Frame frame, frame_of(c));
  SLUICE_TRY(AttentionShape attend, attention_of(c, frame, {.head_dim = c.is_gguf() ? 0u : 128u}));
  attend.qk_norm = true;
  attend.qk_norm_epsilon = frame.epsilon;
  SLUICE_TRY(const uint64_t inner, c.size("intermediate_size", "feed_forward_length"));
  SLUICE_TRY(const int activation, activation_of(c, "hidden_act", kSilu));
  SLUICE_TRY(const std::vector<uint64_t> windows, qwen_windows_of(c, frame.layers));
  SLUICE_TRY(const uint64_t pairs, rotary_pairs(c, attend.head_dim));
  SLUICE_TRY(const Rope rope, rope_of(c, pairs, 10000.0, ""));
  Builder b(frame.facts());
  attend.rope = rope_table(b, rope);
  return assemble(c, frame, b, [&](const LayerNames& name) {
    attend.window = windows[name.layer];
    return Layer{{"attn", [&](ValueId h) { return attention(b, name, attend, h); }},
                 {"ffn", [&](ValueId h) { return gated_ffn(b, name, "mlp.", frame.hidden, inner, activation, false, h); }}};
  });
}

constexpr std::string_view kTypes[] = {"qwen3"};
constexpr std::string_view kArchitectures[] = {"qwen3"};

}  // namespace

extern const Family kQwen3 = {"qwen3", kTypes, kArchitectures, build_qwen3};

}  // namespace sluice::models
