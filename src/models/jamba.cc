// Jamba (Lieber et al. 2024): Mamba-1 mixers with an attention layer every few, no positional encoding at all, SwiGLU or a mixture of experts after
// every mixer. The experts' weights are the router's softmax as it is, not renormalised.
#include <fmt/format.h>

#include <algorithm>

#include "models/family.h"
#include "models/frame.h"

namespace sluice::models {
namespace {

// Which layers attend and which have experts: periods in config.json; head counts per layer and tensor names in GGUF.
struct Layout {
  std::vector<bool> attends, experts;
  AttentionShape attention;
};

Result<Layout> gguf_layout_of(const Config& c, const Frame& frame, uint64_t experts) {
  Layout layout;
  SLUICE_TRY(const std::vector<uint64_t> kv, c.per_layer("", "attention.head_count_kv", frame.layers));
  uint64_t kv_heads = 0;
  for (uint64_t i = 0; i < frame.layers; ++i) {
    if (kv[i] != 0 && kv_heads != 0 && kv[i] != kv_heads) {
      return Error{fmt::format("model configuration: jamba.attention.head_count_kv has both {} and {}; attention layers must be alike", kv_heads, kv[i])};
    }
    kv_heads = std::max(kv_heads, kv[i]);
    layout.attends.push_back(kv[i] != 0);
    layout.experts.push_back(experts > 1 && c.has(fmt::format("blk.{}.ffn_gate_inp.weight", i)));
  }
  SLUICE_TRY(layout.attention, attention_of(c, frame, {.kv_heads = kv_heads, .kv_heads_gguf = ""}));
  return layout;
}

Result<Layout> layout_of(const Config& c, const Frame& frame, uint64_t experts) {
  if (c.is_gguf()) return gguf_layout_of(c, frame, experts);
  Layout layout;
  SLUICE_TRY(layout.attention, attention_of(c, frame));
  SLUICE_TRY(const uint64_t attention_period, c.positive_or("attn_layer_period", "", 8));
  SLUICE_TRY(const uint64_t attention_offset, c.size_or("attn_layer_offset", "", 4));
  SLUICE_TRY(const uint64_t expert_period, c.positive_or("expert_layer_period", "", 2));
  SLUICE_TRY(const uint64_t expert_offset, c.size_or("expert_layer_offset", "", 1));
  for (uint64_t i = 0; i < frame.layers; ++i) {
    layout.attends.push_back(i % attention_period == attention_offset);
    layout.experts.push_back(experts > 1 && i % expert_period == expert_offset);
  }
  return layout;
}

Result<MambaShape> mamba_of(const Config& c, uint64_t hidden, double epsilon) {
  MambaShape s{.hidden = hidden, .dt_b_c_norm = true, .dt_b_c_weights = true, .dt_b_c_epsilon = epsilon};
  SLUICE_TRY(const uint64_t expand, c.positive_or("mamba_expand", "", 2, 64));
  SLUICE_TRY(s.inner, c.size_or("", "ssm.inner_size", expand * hidden));
  SLUICE_TRY(s.states, c.positive_or("mamba_d_state", "ssm.state_size", 16));
  SLUICE_TRY(s.taps, c.positive_or("mamba_d_conv", "ssm.conv_kernel", 4));
  s.rank = (hidden + 15) / 16;  // "auto"
  if (c.text_or("mamba_dt_rank", "", "") != "auto") {
    SLUICE_TRY(s.rank, c.positive_or("mamba_dt_rank", "ssm.time_step_rank", s.rank));
  }
  SLUICE_TRY(s.conv_bias, c.flag_or("mamba_conv_bias", "", true));
  SLUICE_TRY(s.proj_bias, c.flag_or("mamba_proj_bias", "", false));
  SLUICE_TRY_VOID(check_mamba(s));
  return s;
}

Result<program::Program> build_jamba(const Config& c) {
  SLUICE_TRY(Frame frame, frame_of(c));
  frame.ffn_norm = "pre_ff_layernorm.weight";
  frame.last_norm = "final_layernorm.weight";
  SLUICE_TRY(const uint64_t inner, c.size("intermediate_size", "feed_forward_length"));
  SLUICE_TRY(const int activation, activation_of(c, "hidden_act", kSilu));
  MoeShape moe{.hidden = frame.hidden, .inner = inner, .activation = activation, .router = "feed_forward.router.weight",
               .experts_prefix = "feed_forward.experts."};
  // A dense model's top-k means nothing and may exceed its one expert.
  SLUICE_TRY(moe.experts, c.size_or("num_experts", "expert_count", 0));
  if (moe.experts == 0) {
    SLUICE_TRY(moe.experts, c.size_or("num_local_experts", "", 1));
  }
  if (moe.experts > 1) SLUICE_TRY_VOID(read_experts(c, frame.layers, {.chosen_default = 2}, moe));
  SLUICE_TRY(const Layout layout, layout_of(c, frame, moe.experts));
  SLUICE_TRY(const MambaShape mixer, mamba_of(c, frame.hidden, frame.epsilon));

  Builder b(frame.facts());
  return assemble(c, frame, b, [&](const LayerNames& name) {
    Layer layer{{"mamba", [&](ValueId h) { return mamba(b, name, "mamba.", mixer, h); }},
                {"ffn", [&](ValueId h) { return gated_ffn(b, name, "feed_forward.", frame.hidden, inner, activation, false, h); }}};
    if (layout.attends[name.layer]) layer.mixer = {"attn", [&](ValueId h) { return attention(b, name, layout.attention, h); }};
    if (layout.experts[name.layer]) layer.ffn = {"moe", [&](ValueId h) { return moe_ffn(b, name, moe, h); }};
    return layer;
  });
}

constexpr std::string_view kTypes[] = {"jamba"};
constexpr std::string_view kArchitectures[] = {"jamba"};

}  // namespace

extern const Family kJamba = {"jamba", kTypes, kArchitectures, build_jamba};

}  // namespace sluice::models
