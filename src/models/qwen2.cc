// Qwen2 and Qwen2.5: Llama's layer with biases on q, k and v (none on o). Published files carry a sliding_window that is switched off.
#include "models/family.h"
#include "models/frame.h"

namespace sluice::models {
namespace {

Result<program::Program> build_qwen2(const Config& c) {
  SLUICE_TRY(const Frame frame, frame_of(c));
  SLUICE_TRY(AttentionShape attend, attention_of(c, frame));
  attend.qkv_bias = true;
  attend.out_bias = false;
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

constexpr std::string_view kTypes[] = {"qwen2"};
constexpr std::string_view kArchitectures[] = {"qwen2"};

}  // namespace

extern const Family kQwen2 = {"qwen2", kTypes, kArchitectures, build_qwen2};

}  // namespace sluice::models
