#include "models/frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/limits.h"

namespace sluice::models {

using nlohmann::json;
using program::WeightTransform;

Result<Frame> frame_of(const Config& c, const FrameDefaults& defaults) {
  Frame f;
  SLUICE_TRY(f.hidden, c.positive_or("hidden_size", "embedding_length", defaults.hidden));
  SLUICE_TRY(f.layers, c.positive_or("num_hidden_layers", "block_count", defaults.layers, limits::kLayersMax));
  SLUICE_TRY(f.vocabulary, c.positive_or("vocab_size", "vocab_size", defaults.vocabulary, limits::kVocabularyMax));
  SLUICE_TRY(f.context, c.size_or("max_position_embeddings", "context_length", 0));
  SLUICE_TRY(f.epsilon, c.number_or(defaults.epsilon_field, "attention.layer_norm_rms_epsilon", defaults.epsilon));
  if (!(f.epsilon > 0 && f.epsilon < 1)) {
    return Error{fmt::format("model configuration: {} is {}, expected a number between 0 and 1",
                             c.pick(defaults.epsilon_field, "attention.layer_norm_rms_epsilon"), f.epsilon)};
  }
  SLUICE_TRY(f.tied, tied_head(c, defaults.tied));
  // Where the language model is a part of a larger one, its names have a longer stem (Gemma 3: both spellings are in use).
  if (c.has("model.language_model.embed_tokens.weight")) f.stem = "model.language_model.";
  if (c.has("language_model.model.embed_tokens.weight")) {
    f.stem = "language_model.model.";
    f.head_stem = "language_model.";
  }
  return f;
}

Result<AttentionShape> attention_of(const Config& c, const Frame& f, const AttentionDefaults& defaults) {
  AttentionShape s{.hidden = f.hidden};
  SLUICE_TRY(s.heads, c.positive_or("num_attention_heads", "attention.head_count", defaults.heads, limits::kHeadsMax));
  const uint64_t kv_heads = defaults.kv_heads ? defaults.kv_heads : s.heads;
  SLUICE_TRY(s.kv_heads, c.positive_or("num_key_value_heads", defaults.kv_heads_gguf, kv_heads, limits::kHeadsMax));
  if (s.heads % s.kv_heads != 0) {
    return Error{fmt::format("model configuration: {} attention heads do not divide into {} key-value heads", s.heads, s.kv_heads)};
  }
  const uint64_t head_dim = defaults.head_dim ? defaults.head_dim : f.hidden / s.heads;
  const bool spelled_out = c.find("head_dim", "attention.key_length") != nullptr;
  if (!spelled_out && !defaults.head_dim && f.hidden % s.heads != 0) {
    return Error{fmt::format("model configuration: hidden size {} does not divide into {} attention heads", f.hidden, s.heads)};
  }
  SLUICE_TRY(s.head_dim, c.positive_or("head_dim", "attention.key_length", head_dim, limits::kHeadDimensionMax));
  SLUICE_TRY(const uint64_t value_dim, c.positive_or("", "attention.value_length", s.head_dim, limits::kHeadDimensionMax));
  if (value_dim != s.head_dim) {
    return Error{fmt::format("model configuration: keys of {} and values of {} dimensions a head, must be equal", s.head_dim, value_dim)};
  }
  if (s.heads * s.head_dim > limits::kDimensionMax) {
    return Error{fmt::format("model configuration: {} heads of {} dimensions are wider than {}", s.heads, s.head_dim, limits::kDimensionMax)};
  }
  s.scale = 1 / std::sqrt(static_cast<double>(s.head_dim));
  SLUICE_TRY(s.qkv_bias, c.flag_or("attention_bias", "", c.has("blk.0.attn_q.bias")));
  SLUICE_TRY(s.out_bias, c.flag_or("attention_bias", "", c.has("blk.0.attn_output.bias")));
  return s;
}

Result<uint64_t> rotary_pairs(const Config& c, uint64_t head_dim) {
  SLUICE_TRY(const uint64_t rotated, c.positive_or("", "rope.dimension_count", head_dim, head_dim));
  if (rotated % 2 != 0) return Error{fmt::format("model configuration: {} rotated dimensions a head, must be even", rotated)};
  return rotated / 2;
}

Result<std::vector<uint64_t>> windows_of(const Config& c, uint64_t layers, uint64_t window, const std::function<bool(uint64_t)>& slides) {
  std::vector<uint64_t> out(layers);
  const json* types = c.find("layer_types", "");
  for (uint64_t i = 0; i < layers; ++i) out[i] = types == nullptr && slides(i) ? window : 0;
  if (types == nullptr) return out;
  if (!types->is_array() || types->size() != layers) {
    return Error{fmt::format("model configuration: layer_types must be an array of {} entries", layers)};
  }
  for (uint64_t i = 0; i < layers; ++i) {
    const json& type = (*types)[i];
    const bool sliding = type == "sliding_attention";
    if (!sliding && type != "full_attention") {
      return Error{fmt::format("model configuration: layer_types[{}] is {}, expected \"full_attention\" or \"sliding_attention\"", i,
                               type.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 64))};
    }
    out[i] = sliding ? window : 0;
  }
  return out;
}

Result<std::vector<uint64_t>> qwen_windows_of(const Config& c, uint64_t layers) {
  SLUICE_TRY(const bool used, c.flag_or("use_sliding_window", "", false));
  SLUICE_TRY(const uint64_t window, c.size_or("sliding_window", "", 0));
  SLUICE_TRY(const uint64_t full_layers, c.size_or("max_window_layers", "", 28));
  return windows_of(c, layers, used ? window : 0, [&](uint64_t i) { return i >= full_layers; });
}

Status read_experts(const Config& c, uint64_t layers, const MoeFields& fields, MoeShape& moe) {
  const bool alias = c.find(fields.experts, "expert_count") == nullptr && c.find(fields.experts_alias, "") != nullptr;
  const std::string_view field = alias ? fields.experts_alias : fields.experts;
  SLUICE_TRY(moe.experts, c.positive_or(field, "expert_count", fields.experts_default, limits::kExpertsMax));
  SLUICE_TRY(moe.chosen, c.positive_or(fields.chosen, "expert_used_count", fields.chosen_default, limits::kExpertsMax));
  if (moe.chosen > moe.experts) {
    return Error{fmt::format("model configuration: {} of {} experts a token cannot be chosen", moe.chosen, moe.experts)};
  }
  // Three tensors an expert in a Hugging Face folder.
  if (layers * moe.experts * 3 > limits::kTensorsMax) {
    return Error{fmt::format("model configuration: {} layers of {} experts have more than {} tensors", layers, moe.experts, limits::kTensorsMax)};
  }
  return {};
}

Result<int> activation_of(const Config& c, std::string_view field, int fallback) {
  static constexpr std::string_view kKnown[] = {"silu", "swish", "gelu_pytorch_tanh"};
  SLUICE_TRY_VOID(c.expect_text(field, "", kKnown));
  const std::string name = c.text_or(field, "", "");
  if (name.empty()) return fallback;
  return name == "gelu_pytorch_tanh" ? kGeluTanh : kSilu;
}

Status check_mamba(const MambaShape& s) {
  const auto within = [](std::string_view what, uint64_t value, uint64_t low, uint64_t high) -> Status {
    if (value >= low && value <= high) return {};
    return Error{fmt::format("model configuration: {} is {}, must be {} to {}", what, value, low, high)};
  };
  SLUICE_TRY_VOID(within("the Mamba mixer's inner size", s.inner, 1, limits::kDimensionMax / 2));
  SLUICE_TRY_VOID(within("the Mamba mixer's state size", s.states, 1, limits::kScanStatesMax));
  SLUICE_TRY_VOID(within("the Mamba mixer's convolution width", s.taps, 2, limits::kConvTapsMax));
  return within("the Mamba mixer's time step rank", s.rank, 1, s.inner);
}

namespace {

class Assembly {
 public:
  Assembly(const Config& c, const Frame& f, Builder& b) : c_(c), f_(f), b_(b) {}

  ValueId norm(const std::string& tensor, ValueId x) {
    const auto transform = f_.norm_add_one ? WeightTransform::kAddOne : WeightTransform::kNone;
    return b_.rmsnorm(x, b_.vector(tensor, f_.hidden, transform), f_.epsilon);
  }

  // x + post(part(pre(x))).
  ValueId residual(const LayerNames& name, const Part& part, std::string_view pre, std::string_view pre_gguf, std::string_view post,
                   std::string_view post_gguf, ValueId x) {
    if (!part.build) return x;
    b_.label(layer_label(name.layer, part.label));
    ValueId y = part.build(norm(name(pre, pre_gguf), x));
    if (!post.empty()) y = norm(name(post, post_gguf), y);
    return b_.add(x, y);
  }

  program::Program run(const std::function<Layer(const LayerNames&)>& layer) {
    const ValueId table = b_.matrix(c_.is_gguf() ? "token_embd.weight" : f_.stem + std::string(f_.table), f_.vocabulary, f_.hidden);
    b_.label("embed");
    ValueId x = b_.embed(table, f_.embed_scale);
    b_.observe(x, 0);
    for (uint64_t i = 0; i < f_.layers; ++i) {
      const LayerNames name{c_, layer_prefix(f_.stem + "layers", i), i};
      const Layer parts = layer(name);
      x = residual(name, parts.mixer, f_.mixer_norm, "attn_norm.weight", f_.mixer_post_norm, "post_attention_norm.weight", x);
      x = residual(name, parts.ffn, f_.ffn_norm, "ffn_norm.weight", f_.ffn_post_norm, "post_ffw_norm.weight", x);
      b_.observe(x, i + 1);
    }
    const HeadShape head{.norm = c_.is_gguf() ? "output_norm.weight" : f_.stem + std::string(f_.last_norm),
                         .norm_add_one = f_.norm_add_one,
                         .epsilon = f_.epsilon,
                         .head = f_.tied ? "" : c_.is_gguf() ? "output.weight" : f_.head_stem + "lm_head.weight",
                         .softcap = f_.softcap};
    return finish(b_, x, table, head, f_.layers);
  }

 private:
  const Config& c_;
  const Frame& f_;
  Builder& b_;
};

}  // namespace

program::Program assemble(const Config& config, const Frame& frame, Builder& b, const std::function<Layer(const LayerNames&)>& layer) {
  return Assembly(config, frame, b).run(layer);
}

}  // namespace sluice::models
