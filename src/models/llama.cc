// Llama family: Llama 1-3, Mistral (window), SmolLM2 and every model that publishes itself as one (Touvron et al. 2023). Pre-norm attention with RoPE
// and SwiGLU. GGUF files hold q and k rows in pairwise order, so they rotate neighbours; Hugging Face folders rotate halves.
#include "models/blocks.h"
#include "models/family.h"
#include "models/rope.h"

namespace sluice::models {
namespace {

Result<program::Program> build_llama(const Config& c) {
  SLUICE_TRY(const uint64_t hidden, c.size("hidden_size", "embedding_length"));
  SLUICE_TRY(const uint64_t layers, c.size("num_hidden_layers", "block_count"));
  SLUICE_TRY(const uint64_t inner, c.size("intermediate_size", "feed_forward_length"));
  SLUICE_TRY(const uint64_t heads, c.size("num_attention_heads", "attention.head_count"));
  SLUICE_TRY(const uint64_t kv_heads, c.size_or("num_key_value_heads", "attention.head_count_kv", heads));
  SLUICE_TRY(const uint64_t head_dim, c.size_or("head_dim", "attention.key_length", hidden / heads));
  SLUICE_TRY(const uint64_t vocabulary, vocabulary_of(c));
  SLUICE_TRY(const double epsilon, c.number_or("rms_norm_eps", "attention.layer_norm_rms_epsilon", 1e-6));
  SLUICE_TRY(const uint64_t context, c.size_or("max_position_embeddings", "context_length", 0));
  SLUICE_TRY(const uint64_t window, c.size_or("sliding_window", "attention.sliding_window", 0));
  SLUICE_TRY(const bool ffn_bias, c.flag_or("mlp_bias", "", c.has("blk.0.ffn_gate.bias")));
  SLUICE_TRY(const bool attention_bias, c.flag_or("attention_bias", "", c.has("blk.0.attn_q.bias")));
  SLUICE_TRY(const bool tied, tied_head(c, false));
  SLUICE_TRY(const Rope rope, rope_of(c, head_dim / 2, 10000.0, ""));

  Builder b({.layers = layers, .vocabulary = vocabulary, .context_max = context, .hidden = hidden});
  const ValueId table = b.matrix(std::string(c.pick("model.embed_tokens.weight", "token_embd.weight")), vocabulary, hidden);
  b.label("embed");
  ValueId x = b.embed(table, 1.0);
  b.observe(x, 0);
  AttentionShape attend{.hidden = hidden, .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim,
                        .scale = 1 / std::sqrt(static_cast<double>(head_dim)), .window = window, .rope = rope_table(b, rope),
                        .rope_interleaved = c.is_gguf(), .qkv_bias = attention_bias, .out_bias = attention_bias && !c.is_gguf()};
  if (c.is_gguf()) attend.out_bias = c.has("blk.0.attn_output.bias");
  for (uint64_t i = 0; i < layers; ++i) {
    const LayerNames name{c, layer_prefix("model.layers", i), i};
    b.label(layer_label(i, "attn"));
    ValueId h = b.rmsnorm(x, b.vector(name("input_layernorm.weight", "attn_norm.weight"), hidden), epsilon);
    x = b.add(x, attention(b, name, attend, h));
    b.label(layer_label(i, "ffn"));
    h = b.rmsnorm(x, b.vector(name("post_attention_layernorm.weight", "ffn_norm.weight"), hidden), epsilon);
    x = b.add(x, gated_ffn(b, name, "mlp.", hidden, inner, kSilu, ffn_bias, h));
    b.observe(x, i + 1);
  }
  const HeadShape head{.norm = std::string(c.pick("model.norm.weight", "output_norm.weight")), .epsilon = epsilon,
                       .head = tied ? "" : std::string(c.pick("lm_head.weight", "output.weight"))};
  return finish(b, x, table, head, layers);
}

constexpr std::string_view kTypes[] = {"llama", "mistral"};
constexpr std::string_view kArchitectures[] = {"llama"};

}  // namespace

extern const Family kLlama = {"llama", kTypes, kArchitectures, build_llama};

}  // namespace sluice::models
