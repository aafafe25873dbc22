#include "models/blocks.h"

#include <fmt/format.h>

namespace sluice::models {

using program::WeightTransform;

ValueId attention(Builder& b, const LayerNames& name, const AttentionShape& s, ValueId h) {
  const auto project = [&](std::string_view hf, std::string_view gguf, uint64_t out, uint64_t in, ValueId x, bool bias) {
    const ValueId w = b.matrix(name(fmt::format("self_attn.{}.weight", hf), fmt::format("{}.weight", gguf)), out, in);
    return b.matmul(x, w, bias ? b.vector(name(fmt::format("self_attn.{}.bias", hf), fmt::format("{}.bias", gguf)), out) : kNoValue);
  };
  const auto norm = [&](std::string_view hf, std::string_view gguf, uint64_t heads, ValueId x) {
    if (!s.qk_norm) return x;
    const auto transform = s.qk_norm_add_one ? WeightTransform::kAddOne : WeightTransform::kNone;
    return b.rmsnorm(x, b.vector(name(hf, gguf), s.head_dim, transform), s.qk_norm_epsilon, heads);
  };
  const auto rotate = [&](uint64_t heads, ValueId x) {
    return s.rope == kNoValue ? x : b.rope(s.rope, x, heads, s.head_dim, s.rope_interleaved);
  };
  ValueId q = project("q_proj", "attn_q", s.heads * s.head_dim, s.hidden, h, s.qkv_bias);
  ValueId k = project("k_proj", "attn_k", s.kv_heads * s.head_dim, s.hidden, h, s.qkv_bias);
  const ValueId v = project("v_proj", "attn_v", s.kv_heads * s.head_dim, s.hidden, h, s.qkv_bias);
  q = rotate(s.heads, norm("self_attn.q_norm.weight", "attn_q_norm.weight", s.heads, q));
  k = rotate(s.kv_heads, norm("self_attn.k_norm.weight", "attn_k_norm.weight", s.kv_heads, k));
  const ValueId kv = b.kv(static_cast<uint32_t>(s.kv_heads), static_cast<uint32_t>(s.head_dim), static_cast<uint32_t>(s.head_dim));
  b.kv_write(k, v, kv);
  const ValueId mixed = b.attention(q, kv, s.heads, s.scale, s.softcap, s.window);
  return project("o_proj", "attn_output", s.hidden, s.heads * s.head_dim, mixed, s.out_bias);
}

ValueId gated_ffn(Builder& b, const LayerNames& name, std::string_view hf_prefix, uint64_t hidden, uint64_t inner, int activation, bool bias, ValueId h) {
  const auto project = [&](std::string_view part, uint64_t out, uint64_t in, ValueId x) {
    const std::string hf = fmt::format("{}{}_proj", hf_prefix, part), gguf = fmt::format("ffn_{}", part);
    const ValueId w = b.matrix(name(hf + ".weight", gguf + ".weight"), out, in);
    return b.matmul(x, w, bias ? b.vector(name(hf + ".bias", gguf + ".bias"), out) : kNoValue);
  };
  const ValueId gate = project("gate", inner, hidden, h);
  const ValueId up = project("up", inner, hidden, h);
  return project("down", hidden, inner, b.glu(gate, up, activation));
}

namespace {

// The experts' matrices of one projection: a stacked tensor, or one tensor an expert.
Source expert_source(const LayerNames& name, const MoeShape& s, std::string_view part, std::string_view gguf) {
  if (name.config.is_gguf()) {
    // Files of 2023 hold one tensor an expert: ffn_gate.3.weight.
    const std::string old = std::string(gguf.substr(0, gguf.find("_exps")));
    if (!name.has("", old + ".0.weight")) return Source(name("", gguf));
    std::vector<std::string> each;
    for (uint64_t e = 0; e < s.experts; ++e) each.push_back(name("", fmt::format("{}.{}.weight", old, e)));
    return Source(std::move(each));
  }
  const std::string prefix(s.experts_prefix);
  const std::string stacked = name(prefix + (part == s.down ? "down_proj" : "gate_up_proj"), "");
  if (name.config.has(stacked)) {
    if (part == s.down) return Source(stacked);
    return Source(stacked).rows(part == s.gate ? 0 : s.inner, 2 * s.inner);
  }
  std::vector<std::string> names;
  for (uint64_t e = 0; e < s.experts; ++e) names.push_back(name(fmt::format("{}{}.{}.weight", prefix, e, part), ""));
  return Source(std::move(names));
}

}  // namespace

ValueId moe_ffn(Builder& b, const LayerNames& name, const MoeShape& s, ValueId h) {
  const ValueId router = b.matrix(name(s.router, "ffn_gate_inp.weight"), s.experts, s.hidden);
  const auto [ids, weights] = b.moe_topk(b.matmul(h, router), s.chosen, s.renormalize);
  const ValueId gate = b.moe_matmul(h, ids, b.matrix(expert_source(name, s, s.gate, "ffn_gate_exps.weight"), s.inner, s.hidden, s.experts));
  const ValueId up = b.moe_matmul(h, ids, b.matrix(expert_source(name, s, s.up, "ffn_up_exps.weight"), s.inner, s.hidden, s.experts));
  const ValueId down = b.matrix(expert_source(name, s, s.down, "ffn_down_exps.weight"), s.hidden, s.inner, s.experts);
  return b.moe_combine(b.moe_matmul(b.glu(gate, up, s.activation), ids, down), weights);
}

ValueId mamba(Builder& b, const LayerNames& name, std::string_view hf_prefix, const MambaShape& s, ValueId h) {
  const auto tensor = [&](std::string_view hf, std::string_view gguf) { return name(fmt::format("{}{}", hf_prefix, hf), gguf); };
  const std::string in = tensor("in_proj.weight", "ssm_in.weight"), in_bias = tensor("in_proj.bias", "ssm_in.bias");
  const std::string split = tensor("x_proj.weight", "ssm_x.weight");
  const auto half = [&](uint64_t first) {
    const ValueId bias = s.proj_bias ? b.vector(Source(in_bias).rows(first, 2 * s.inner), s.inner) : kNoValue;
    return b.matmul(h, b.matrix(Source(in).rows(first, 2 * s.inner), s.inner, s.hidden), bias);
  };
  ValueId x = half(0);
  const ValueId z = half(s.inner);
  const ValueId conv_bias = s.conv_bias ? b.vector(tensor("conv1d.bias", "ssm_conv1d.bias"), s.inner) : kNoValue;
  x = b.conv1d(x, b.conv_weight(tensor("conv1d.weight", "ssm_conv1d.weight"), s.inner, s.taps), conv_bias, true);
  const uint64_t columns = s.rank + 2 * s.states;
  const auto part = [&](uint64_t first, uint64_t width, std::string_view hf_norm, std::string_view gguf_norm) {
    const ValueId y = b.matmul(x, b.matrix(Source(split).rows(first, columns), width, s.inner));
    if (!s.dt_b_c_norm) return y;
    return b.rmsnorm(y, s.dt_b_c_weights ? b.vector(tensor(hf_norm, gguf_norm), width) : kNoValue, s.dt_b_c_epsilon);
  };
  const ValueId dt_low = part(0, s.rank, "dt_layernorm.weight", "ssm_dt_norm.weight");
  const ValueId B = part(s.rank, s.states, "b_layernorm.weight", "ssm_b_norm.weight");
  const ValueId C = part(s.rank + s.states, s.states, "c_layernorm.weight", "ssm_c_norm.weight");
  const ValueId dt = b.matmul(dt_low, b.matrix(tensor("dt_proj.weight", "ssm_dt.weight"), s.inner, s.rank),
                              b.vector(tensor("dt_proj.bias", "ssm_dt.bias"), s.inner));
  // GGUF stores A = -exp(A_log) already.
  const ValueId A = b.scan_a(tensor("A_log", "ssm_a"), s.inner, s.states, name.config.is_gguf() ? WeightTransform::kNone : WeightTransform::kNegExp);
  const ValueId y = b.ssm_scan(x, dt, B, C, z, A, b.vector(tensor("D", "ssm_d"), s.inner), s.states);
  const ValueId out_bias = s.proj_bias ? b.vector(tensor("out_proj.bias", "ssm_out.bias"), s.hidden) : kNoValue;
  return b.matmul(y, b.matrix(tensor("out_proj.weight", "ssm_out.weight"), s.hidden, s.inner), out_bias);
}

program::Program finish(Builder& b, ValueId x, ValueId table, const HeadShape& head, uint64_t layers) {
  b.label("head");
  const uint64_t hidden = b.value(table).k, vocabulary = b.value(table).n;
  const auto transform = head.norm_add_one ? WeightTransform::kAddOne : WeightTransform::kNone;
  x = b.rmsnorm(b.select_rows(x), b.vector(head.norm, hidden, transform), head.epsilon);
  b.observe(x, layers + 1);
  ValueId logits = b.matmul(x, head.head.empty() ? table : b.matrix(head.head, vocabulary, hidden));
  if (head.logit_scale != 1) logits = b.scale(logits, head.logit_scale);
  if (head.softcap != 0) logits = b.softcap(logits, head.softcap);
  return b.finish(logits);
}

std::string layer_prefix(std::string_view stem, uint64_t layer) { return fmt::format("{}.{}.", stem, layer); }
std::string layer_label(uint64_t layer, std::string_view part) { return fmt::format("blk.{}.{}", layer, part); }

Result<bool> tied_head(const Config& config, bool fallback) {
  if (config.is_gguf()) return !config.has("output.weight");
  return config.flag_or("tie_word_embeddings", "", fallback);
}

}  // namespace sluice::models
