// Gemma 3 (text): four zero-centred norms a layer, q and k normed per head, GELU gate, embeddings times sqrt(d), and five layers with a window and their
// own rotary base for each one that sees everything. GGUF files hold the norms with the one added, and neither the pattern nor the scale.
#include "models/family.h"
#include "models/frame.h"

namespace sluice::models {
namespace {

// What Gemma 3's configuration class takes for missing fields; the published multimodal files leave out most of them.
constexpr FrameDefaults kFrame{.hidden = 2304, .layers = 26, .vocabulary = 262208, .tied = true};
constexpr AttentionDefaults kAttention{.heads = 8, .kv_heads = 4, .head_dim = 256};
constexpr uint64_t kPattern = 6;

// The window of each layer: every sixth sees everything, unless the file has another pattern, as a period or layer by layer.
Result<std::vector<uint64_t>> gemma_windows_of(const Config& c, uint64_t layers) {
  SLUICE_TRY(const uint64_t window, c.positive_or("sliding_window", "attention.sliding_window", c.is_gguf() ? 0 : 4096));
  const nlohmann::json* pattern = c.find("sliding_window_pattern", "attention.sliding_window_pattern");
  if (pattern != nullptr && pattern->is_array() && pattern->size() == layers) {
    std::vector<uint64_t> windows;
    for (const nlohmann::json& slides : *pattern) windows.push_back(slides == true || slides == 1 ? window : 0);
    return windows;
  }
  SLUICE_TRY(uint64_t period, c.positive_or("_sliding_window_pattern", "", kPattern));
  SLUICE_TRY(period, c.positive_or("sliding_window_pattern", "attention.sliding_window_pattern", period));
  return windows_of(c, layers, window, [&](uint64_t i) { return (i + 1) % period != 0; });
}

// Layers with a window: an unscaled base of their own. Old spelling: rope_local_base_freq.
Result<Rope> local_rope_of(const Config& c, uint64_t pairs) {
  const nlohmann::json* parameters = c.find("rope_parameters", "");
  if (parameters != nullptr && parameters->is_object() && parameters->contains("sliding_attention")) return rope_of(c, pairs, 1e4, "sliding_attention");
  SLUICE_TRY(const double theta, c.number_or("rope_local_base_freq", "rope.freq_base_swa", 1e4));
  return plain_rope(theta, pairs, c.pick("rope_local_base_freq", "rope.freq_base_swa"));
}

Result<Frame> gemma_frame_of(const Config& c) {
  SLUICE_TRY(Frame frame, frame_of(c, c.is_gguf() ? FrameDefaults{} : kFrame));
  frame.mixer_post_norm = "post_attention_layernorm.weight";
  frame.ffn_norm = "pre_feedforward_layernorm.weight";
  frame.ffn_post_norm = "post_feedforward_layernorm.weight";
  frame.norm_add_one = !c.is_gguf();
  frame.embed_scale = std::sqrt(static_cast<double>(frame.hidden));
  SLUICE_TRY(frame.softcap, c.number_or("final_logit_softcapping", "final_logit_softcapping", 0));
  return frame;
}

Result<AttentionShape> gemma_attention_of(const Config& c, const Frame& frame) {
  SLUICE_TRY(AttentionShape attend, attention_of(c, frame, c.is_gguf() ? AttentionDefaults{} : kAttention));
  attend.qk_norm = true;
  attend.qk_norm_add_one = !c.is_gguf();
  attend.qk_norm_epsilon = frame.epsilon;
  SLUICE_TRY(attend.softcap, c.number_or("attn_logit_softcapping", "attn_logit_softcapping", 0));
  // The 27B (62 layers) is scaled by hidden / heads, every other size by its head dimension; only config.json says so.
  const uint64_t usual = c.is_gguf() ? (frame.layers == 62 ? frame.hidden / attend.heads : attend.head_dim) : 256;
  SLUICE_TRY(const double scalar, c.number_or("query_pre_attn_scalar", "", static_cast<double>(usual)));
  if (!(scalar > 0)) return Error{"model configuration: query_pre_attn_scalar must be above 0"};
  attend.scale = 1 / std::sqrt(scalar);
  return attend;
}

Result<program::Program> build_gemma3(const Config& c) {
  SLUICE_TRY(const Frame frame, gemma_frame_of(c));
  SLUICE_TRY(AttentionShape attend, gemma_attention_of(c, frame));
  SLUICE_TRY(const uint64_t inner, c.positive_or("intermediate_size", "feed_forward_length", c.is_gguf() ? 0 : 9216));
  SLUICE_TRY(const int activation, activation_of(c, "hidden_activation", kGeluTanh));
  SLUICE_TRY(const std::vector<uint64_t> windows, gemma_windows_of(c, frame.layers));
  SLUICE_TRY(const uint64_t pairs, rotary_pairs(c, attend.head_dim));
  SLUICE_TRY(const Rope everywhere, rope_of(c, pairs, c.is_gguf() ? 1e4 : 1e6, "full_attention"));
  SLUICE_TRY(const Rope local, local_rope_of(c, pairs));
  Builder b(frame.facts());
  const ValueId global_table = rope_table(b, everywhere), local_table = rope_table(b, local);
  return assemble(c, frame, b, [&](const LayerNames& name) {
    attend.window = windows[name.layer];
    attend.rope = attend.window != 0 ? local_table : global_table;
    return Layer{{"attn", [&](ValueId h) { return attention(b, name, attend, h); }},
                 {"ffn", [&](ValueId h) { return gated_ffn(b, name, "mlp.", frame.hidden, inner, activation, false, h); }}};
  });
}

constexpr std::string_view kTypes[] = {"gemma3_text", "gemma3"};
constexpr std::string_view kArchitectures[] = {"gemma3"};

}  // namespace

extern const Family kGemma3 = {"gemma3", kTypes, kArchitectures, build_gemma3};

}  // namespace sluice::models
