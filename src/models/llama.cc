// Llama family: Llama 1-3, Mistral (window), SmolLM2 and every model that publishes itself as one (Touvron et al. 2023). Pre-norm attention with RoPE
// and SwiGLU. GGUF files hold q and k rows in pairwise order, so they rotate neighbours; Hugging Face folders rotate halves.
#include "models/family.h"
#include "models/frame.h"

namespace sluice::models {
namespace {

Result<program::Program> build_llama(const Config& c) {
  SLUICE_TRY(const Frame frame, frame_of(c));
  SLUICE_TRY(AttentionShape attend, attention_of(c, frame));
  SLUICE_TRY(const uint64_t inner, c.size("intermediate_size", "feed_forward_length"));
  SLUICE_TRY(const int activation, activation_of(c, "hidden_act", kSilu));
  SLUICE_TRY(const bool ffn_bias, c.flag_or("mlp_bias", "", c.has("blk.0.ffn_gate.bias")));
  // Llama's own class knows no window, whatever stands in the file.
  if (c.is_gguf() || c.architecture() == "mistral") {
    SLUICE_TRY(attend.window, c.size_or("sliding_window", "attention.sliding_window", 0));
  }
  SLUICE_TRY(const uint64_t pairs, rotary_pairs(c, attend.head_dim));
  SLUICE_TRY(const Rope rope, rope_of(c, pairs, 10000.0, ""));
  Builder b(frame.facts());
  attend.rope = rope_table(b, rope);
  attend.rope_interleaved = c.is_gguf();
  return assemble(c, frame, b, [&](const LayerNames& name) {
    return Layer{{"attn", [&](ValueId h) { return attention(b, name, attend, h); }},
                 {"ffn", [&](ValueId h) { return gated_ffn(b, name, "mlp.", frame.hidden, inner, activation, ffn_bias, h); }}};
  });
}

constexpr std::string_view kTypes[] = {"llama", "mistral"};
constexpr std::string_view kArchitectures[] = {"llama"};

}  // namespace

extern const Family kLlama = {"llama", kTypes, kArchitectures, build_llama};

}  // namespace sluice::models
