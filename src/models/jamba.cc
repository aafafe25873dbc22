// Jamba (Lieber et al. 2024): Mamba-1 mixers with an attention layer every few, no positional encoding at all, SwiGLU or a mixture of experts after
// every mixer. The experts' weights are the router's softmax as it is, not renormalised.
#include "models/blocks.h"
#include "models/family.h"

namespace sluice::models {
namespace {

// Which layers attend and which have experts: periods in config.json; head counts per layer and tensor names in GGUF.
struct Layout {
  std::vector<bool> attends, experts;
  uint64_t kv_heads = 0;
};

Result<Layout> layout_of(const Config& c, uint64_t layers, uint64_t heads, uint64_t experts) {
  Layout layout;
  if (c.is_gguf()) {
    SLUICE_TRY(const std::vector<uint64_t> kv, c.per_layer("", "attention.head_count_kv", layers));
    for (uint64_t i = 0; i < layers; ++i) {
      layout.attends.push_back(kv[i] != 0);
      layout.kv_heads = std::max(layout.kv_heads, kv[i]);
      layout.experts.push_back(c.has("blk." + std::to_string(i) + ".ffn_gate_inp.weight"));
    }
    return layout;
  }
  SLUICE_TRY(layout.kv_heads, c.size_or("num_key_value_heads", "", heads));
  SLUICE_TRY(const uint64_t attention_period, c.size_or("attn_layer_period", "", 8));
  SLUICE_TRY(const uint64_t attention_offset, c.size_or("attn_layer_offset", "", 4));
  SLUICE_TRY(const uint64_t expert_period, c.size_or("expert_layer_period", "", 2));
  SLUICE_TRY(const uint64_t expert_offset, c.size_or("expert_layer_offset", "", 1));
  if (attention_period == 0 || expert_period == 0) return Error{"model configuration: attn_layer_period and expert_layer_period must be above 0"};
  for (uint64_t i = 0; i < layers; ++i) {
    layout.attends.push_back(i % attention_period == attention_offset);
    layout.experts.push_back(experts > 1 && i % expert_period == expert_offset);
  }
  return layout;
}

Result<MambaShape> mamba_of(const Config& c, uint64_t hidden, double epsilon) {
  MambaShape s{.hidden = hidden, .dt_b_c_norm = true, .dt_b_c_weights = true, .dt_b_c_epsilon = epsilon};
  SLUICE_TRY(const uint64_t expand, c.size_or("mamba_expand", "", 2));
  SLUICE_TRY(s.inner, c.size_or("", "ssm.inner_size", expand * hidden));
  SLUICE_TRY(s.states, c.size_or("mamba_d_state", "ssm.state_size", 16));
  SLUICE_TRY(s.taps, c.size_or("mamba_d_conv", "ssm.conv_kernel", 4));
  s.rank = (hidden + 15) / 16;  // "auto"
  if (c.text_or("mamba_dt_rank", "", "") != "auto") {
    SLUICE_TRY(s.rank, c.size_or("mamba_dt_rank", "ssm.time_step_rank", s.rank));
  }
  SLUICE_TRY(s.conv_bias, c.flag_or("mamba_conv_bias", "", true));
  SLUICE_TRY(s.proj_bias, c.flag_or("mamba_proj_bias", "", false));
  return s;
}

Result<program::Program> build_jamba(const Config& c) {
  SLUICE_TRY(const uint64_t hidden, c.size("hidden_size", "embedding_length"));
  SLUICE_TRY(const uint64_t layers, c.size("num_hidden_layers", "block_count"));
  SLUICE_TRY(const uint64_t inner, c.size("intermediate_size", "feed_forward_length"));
  SLUICE_TRY(const uint64_t heads, c.size("num_attention_heads", "attention.head_count"));
  SLUICE_TRY(const uint64_t vocabulary, vocabulary_of(c));
  SLUICE_TRY(const uint64_t context, c.size_or("max_position_embeddings", "context_length", 0));
  SLUICE_TRY(const double epsilon, c.number_or("rms_norm_eps", "attention.layer_norm_rms_epsilon", 1e-6));
  SLUICE_TRY(uint64_t experts, c.size_or("num_experts", "expert_count", 0));
  if (experts == 0) {
    SLUICE_TRY(experts, c.size_or("num_local_experts", "", 1));
  }
  SLUICE_TRY(const uint64_t chosen, c.size_or("num_experts_per_tok", "expert_used_count", 2));
  SLUICE_TRY(const Layout layout, layout_of(c, layers, heads, experts));
  SLUICE_TRY(const MambaShape mixer, mamba_of(c, hidden, epsilon));
  SLUICE_TRY(const bool tied, tied_head(c, false));
  const uint64_t head_dim = hidden / heads;

  Builder b({.layers = layers, .vocabulary = vocabulary, .context_max = context, .hidden = hidden});
  const ValueId table = b.matrix(std::string(c.pick("model.embed_tokens.weight", "token_embd.weight")), vocabulary, hidden);
  b.label("embed");
  ValueId x = b.embed(table, 1.0);
  b.observe(x, 0);
  const AttentionShape attend{.hidden = hidden, .heads = heads, .kv_heads = layout.kv_heads, .head_dim = head_dim,
                              .scale = 1 / std::sqrt(static_cast<double>(head_dim))};
  const MoeShape moe{.hidden = hidden, .inner = inner, .experts = experts, .chosen = chosen, .router = "feed_forward.router.weight",
                     .experts_prefix = "feed_forward.experts."};
  for (uint64_t i = 0; i < layers; ++i) {
    const LayerNames name{c, layer_prefix("model.layers", i), i};
    b.label(layer_label(i, layout.attends[i] ? "attn" : "mamba"));
    ValueId h = b.rmsnorm(x, b.vector(name("input_layernorm.weight", "attn_norm.weight"), hidden), epsilon);
    x = b.add(x, layout.attends[i] ? attention(b, name, attend, h) : mamba(b, name, "mamba.", mixer, h));
    b.label(layer_label(i, layout.experts[i] ? "moe" : "ffn"));
    h = b.rmsnorm(x, b.vector(name("pre_ff_layernorm.weight", "ffn_norm.weight"), hidden), epsilon);
    x = b.add(x, layout.experts[i] ? moe_ffn(b, name, moe, h) : gated_ffn(b, name, "feed_forward.", hidden, inner, kSilu, false, h));
    b.observe(x, i + 1);
  }
  const HeadShape head{.norm = std::string(c.pick("model.final_layernorm.weight", "output_norm.weight")), .epsilon = epsilon,
                       .head = tied ? "" : std::string(c.pick("lm_head.weight", "output.weight"))};
  return finish(b, x, table, head, layers);
}

constexpr std::string_view kTypes[] = {"jamba"};
constexpr std::string_view kArchitectures[] = {"jamba"};

}  // namespace

extern const Family kJamba = {"jamba", kTypes, kArchitectures, build_jamba};

}  // namespace sluice::models
