// Gemma 2: Gemma 3's four zero-centred norms and scaled embedding, but soft caps on scores and logits, no norm of q and k, one rotary base, and a window
// on every other layer.
#include "models/family.h"
#include "models/frame.h"

namespace sluice::models {
namespace {

// What Gemma 2's configuration class takes for missing fields.
constexpr FrameDefaults kFrame{.hidden = 2304, .layers = 26, .vocabulary = 256000, .tied = true};
constexpr AttentionDefaults kAttention{.heads = 8, .kv_heads = 4, .head_dim = 256};
constexpr double kScoreCap = 50, kLogitCap = 30;
constexpr uint64_t kWindow = 4096;

Result<Frame> gemma_frame_of(const Config& c) {
  SLUICE_TRY(Frame frame, frame_of(c, c.is_gguf() ? FrameDefaults{} : kFrame));
  frame.mixer_post_norm = "post_attention_layernorm.weight";
  frame.ffn_norm = "pre_feedforward_layernorm.weight";
  frame.ffn_post_norm = "post_feedforward_layernorm.weight";
  frame.norm_add_one = !c.is_gguf();
  frame.embed_scale = std::sqrt(static_cast<double>(frame.hidden));
  SLUICE_TRY(frame.softcap, c.number_or("final_logit_softcapping", "final_logit_softcapping", kLogitCap));
  return frame;
}

Result<AttentionShape> gemma_attention_of(const Config& c, const Frame& frame) {
  SLUICE_TRY(AttentionShape attend, attention_of(c, frame, c.is_gguf() ? AttentionDefaults{} : kAttention));
  SLUICE_TRY(attend.softcap, c.number_or("attn_logit_softcapping", "attn_logit_softcapping", kScoreCap));
  // The 27B (46 layers) is scaled by hidden / heads, every other size by its head dimension; only config.json says so.
  const uint64_t usual = c.is_gguf() ? (frame.layers == 46 ? frame.hidden / attend.heads : attend.head_dim) : 256;
  SLUICE_TRY(const double scalar, c.number_or("query_pre_attn_scalar", "", static_cast<double>(usual)));
  if (!(scalar > 0)) return Error{"model configuration: query_pre_attn_scalar must be above 0"};
  attend.scale = 1 / std::sqrt(scalar);
  return attend;
}

Result<program::Program> build_gemma2(const Config& c) {
  SLUICE_TRY(const Frame frame, gemma_frame_of(c));
  SLUICE_TRY(AttentionShape attend, gemma_attention_of(c, frame));
  SLUICE_TRY(const uint64_t inner, c.positive_or("intermediate_size", "feed_forward_length", c.is_gguf() ? 0 : 9216));
  SLUICE_TRY(const int activation, activation_of(c, "hidden_activation", kGeluTanh));
  SLUICE_TRY(const uint64_t window, c.positive_or("sliding_window", "attention.sliding_window", kWindow));
  SLUICE_TRY(const std::vector<uint64_t> windows, windows_of(c, frame.layers, window, [](uint64_t i) { return i % 2 == 0; }));
  SLUICE_TRY(const uint64_t pairs, rotary_pairs(c, attend.head_dim));
  SLUICE_TRY(const Rope rope, rope_of(c, pairs, 1e4, ""));
  Builder b(frame.facts());
  attend.rope = rope_table(b, rope);
  return assemble(c, frame, b, [&](const LayerNames& name) {
    attend.window = windows[name.layer];
    return Layer{{"attn", [&](ValueId h) { return attention(b, name, attend, h); }},
                 {"ffn", [&](ValueId h) { return gated_ffn(b, name, "mlp.", frame.hidden, inner, activation, false, h); }}};
  });
}

constexpr std::string_view kTypes[] = {"gemma2"};
constexpr std::string_view kArchitectures[] = {"gemma2"};

}  // namespace

extern const Family kGemma2 = {"gemma2", kTypes, kArchitectures, build_gemma2};

}  // namespace sluice::models
