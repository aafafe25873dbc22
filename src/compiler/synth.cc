#include "compiler/synth.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "base/half.h"
#include "compiler/compile.h"
#include "models/family.h"
#include "weights/writer.h"

namespace sluice::compiler {
namespace {

using nlohmann::json;
using program::Program;
using program::Value;
using program::WeightForm;

// splitmix64 (Steele et al. 2014): enough for weights whose values do not matter.
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t x = state += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
  }
  // Sum of four uniforms: near enough to a normal of deviation 1.
  float normal() {
    const uint64_t bits = next();
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>((bits >> (16 * i)) & 0xFFFF) / 65536.0f - 0.5f;
    return sum * 1.732f;
  }
};

// Where a block keeps its f16 scales (offsets), and the deviation of its values for a scale of 1, from uniform random codes and sub-scales.
struct BlockScales {
  DType type;
  int scale;
  int minimum;  // -1: none
  float deviation;
};
constexpr BlockScales kBlockScales[] = {
    {DType::kQ4_0, 0, -1, 4.6f},      {DType::kQ4_1, 0, 2, 4.6f},       {DType::kQ5_0, 0, -1, 9.2f},   {DType::kQ5_1, 0, 2, 9.2f},
    {DType::kQ8_0, 0, -1, 74.0f},     {DType::kQ2_K, 80, 82, 12.0f},    {DType::kQ3_K, 108, -1, 42.0f}, {DType::kQ4_K, 0, 2, 250.0f},
    {DType::kQ5_K, 0, 2, 500.0f},     {DType::kQ6_K, 208, -1, 1360.0f}, {DType::kIQ4_NL, 0, -1, 70.0f}, {DType::kIQ4_XS, 0, -1, 1300.0f},
};

void put_half(std::byte* at, float value) {
  const uint16_t bits = f32_to_f16(value);
  std::memcpy(at, &bits, sizeof bits);
}

// Minimum over scale that centres codes around zero: m = -d * (mean of the codes), dmin = d * (mean of code * sub-scale) / (mean of sub-scale).
float minimum_of(DType type, float scale) {
  switch (type) {
    case DType::kQ4_1: return -7.5f * scale;
    case DType::kQ5_1: return -15.5f * scale;
    case DType::kQ2_K: return 1.5f * scale;
    case DType::kQ4_K: return 7.5f * scale;
    case DType::kQ5_K: return 15.5f * scale;
    default: return 0;
  }
}

}  // namespace

void random_rows(DType type, uint64_t rows, uint64_t k, uint64_t seed, std::byte* out) {
  Random random{seed};
  const float deviation = 0.5f / std::sqrt(static_cast<float>(k));
  const uint64_t bytes = rows * row_bytes(type, k), block = info(type).block_bytes;
  if (type == DType::kF32 || type == DType::kF16 || type == DType::kBF16) {
    for (uint64_t i = 0; i < rows * k; ++i) {
      const float value = random.normal() * deviation;
      const uint16_t narrow = type == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
      type == DType::kF32 ? std::memcpy(out + 4 * i, &value, 4) : std::memcpy(out + 2 * i, &narrow, 2);
    }
    return;
  }
  for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
    const uint64_t bits = random.next();
    std::memcpy(out + i, &bits, 8);
  }
  for (uint64_t i = bytes / 8 * 8; i < bytes; ++i) out[i] = static_cast<std::byte>(random.next());
  if (type == DType::kMXFP4) {
    const int exponent = 127 + static_cast<int>(std::floor(std::log2(deviation / 3.0f)));
    for (uint64_t at = 0; at < bytes; at += block) out[at] = static_cast<std::byte>(exponent);
    return;
  }
  for (const BlockScales& b : kBlockScales) {
    if (b.type != type) continue;
    const float scale = deviation / b.deviation;
    for (uint64_t at = 0; at < bytes; at += block) {
      put_half(out + at + b.scale, scale);
      if (b.minimum >= 0) put_half(out + at + b.minimum, minimum_of(type, scale));
    }
  }
}

namespace {

// The GGUF metadata that a converter would write for this configuration, learnt from what the family's own code reads.
Result<json> gguf_fields(const weights::Checkpoint& config, Program& hf_program, std::string& architecture) {
  models::Config hf = config_of(config);
  json record = json::object();
  hf.record_to(&record);
  SLUICE_TRY(hf_program, models::build(hf));
  for (const models::Family* family : models::families()) {
    if (family->name == hf_program.facts.family) architecture = family->architectures[0];
  }
  std::vector<bool> attends(hf_program.facts.layers);
  bool hybrid = false;
  for (const program::Op& op : hf_program.ops) {
    if (op.code == program::OpCode::kSsmScan) hybrid = true;
    if (op.code == program::OpCode::kAttention) attends[std::stoul(op.label.substr(4))] = true;  // "blk.7.attn"
  }
  if (hybrid) {
    uint64_t heads = 0;
    for (const Value& value : hf_program.values) heads = std::max<uint64_t>(heads, value.kv_heads);
    json array = json::array();
    for (const bool each : attends) array.push_back(each ? heads : 0);
    record["attention.head_count_kv"] = array;
  }
  json fields = {{"general.architecture", architecture}};
  for (const auto& [key, value] : record.items()) fields[architecture + "." + key] = value;
  fields[architecture + ".vocab_size"] = hf_program.facts.vocabulary;
  // A dense Jamba has one expert, of which its files say that one is used; other readers ask for it.
  if (fields.contains(architecture + ".expert_count")) fields.emplace(architecture + ".expert_used_count", 1);
  return fields;
}

// The program under GGUF names: layers with experts and a head of its own exist where the configuration's program has them.
Result<Program> gguf_program(const json& fields, const Program& hf) {
  std::map<std::string, bool> present;
  for (const program::Op& op : hf.ops) {
    if (op.code == program::OpCode::kMoeTopk) present["blk." + std::to_string(std::stoul(op.label.substr(4))) + ".ffn_gate_inp.weight"] = true;
    if (op.code == program::OpCode::kConv1d && hf.operand(op, "bias") != program::kNoValue) {
      present["blk." + std::to_string(std::stoul(op.label.substr(4))) + ".ssm_conv1d.bias"] = true;
    }
    if (op.code == program::OpCode::kMatmul && op.label.ends_with("attn") && hf.operand(op, "bias") != program::kNoValue) {
      present["blk.0.attn_q.bias"] = true;
    }
  }
  program::ValueId table = program::kNoValue;
  for (const program::Op& op : hf.ops) {
    if (op.code == program::OpCode::kEmbed) table = hf.operand(op, "table");
  }
  bool tied = false;
  for (const program::Op& op : hf.ops) tied = tied || (op.code == program::OpCode::kMatmul && hf.operand(op, "weight") == table);
  if (!tied) present["output.weight"] = true;
  return models::build(models::Config(models::Format::kGguf, fields, [&](std::string_view name) { return present.contains(std::string(name)); }));
}

DType type_of(const Value& w, const std::string& name, const std::string& recipe, const Program& program) {
  const bool stays = w.form != WeightForm::kMatrix || name.ends_with("ffn_gate_inp.weight");
  if (stays) return DType::kF32;
  DType type = recipe == "q4_k_m" ? DType::kQ4_K : *dtype_from_name(recipe);
  if (recipe == "q4_k_m") {
    const size_t layer = name.starts_with("blk.") ? std::stoul(name.substr(4)) : 0;
    const bool better_layer = layer < program.facts.layers / 8 || layer % 2 == 0;
    const bool better = name == "token_embd.weight" || name == "output.weight" ||
                        ((name.find("attn_v") != std::string::npos || name.find("ffn_down") != std::string::npos) && better_layer);
    if (better) type = DType::kQ6_K;
  }
  if (w.k % info(type).block_elements == 0) return type;
  // What llama.cpp falls back to when a row is not whole superblocks, and blocks.
  const DType fallback = type == DType::kQ6_K ? DType::kQ8_0 : type == DType::kQ5_K ? DType::kQ5_1 : DType::kQ5_0;
  return w.k % 32 == 0 ? fallback : DType::kF16;
}

constexpr uint64_t kChunkBytes = 4 << 20;

weights::OutputTensor tensor_of(const Value& w, const std::string& recipe, const Program& program, uint64_t seed) {
  weights::OutputTensor tensor;
  tensor.name = w.sources[0];
  tensor.dtype = type_of(w, tensor.name, recipe, program);
  uint64_t rows = w.source_rows * w.count, k = w.k;
  switch (w.form) {
    case WeightForm::kMatrix:
      tensor.shape = {w.source_rows, w.k};
      if (w.count > 1) tensor.shape.insert(tensor.shape.begin(), w.count);
      break;
    case WeightForm::kConv:
    case WeightForm::kScanA: tensor.shape = {w.source_rows, w.k}; break;
    default: tensor.shape = {w.source_rows}; break;
  }
  const WeightForm form = w.form;
  const DType dtype = tensor.dtype;
  tensor.produce = [=](const weights::Sink& sink) -> Status {
    if (form != WeightForm::kMatrix) {
      // Norms near 1; A negative, as -exp(A_log) is; convolutions and biases small.
      std::vector<float> values(rows * k);
      Random random{seed};
      for (size_t i = 0; i < values.size(); ++i) {
        const float n = random.normal();
        values[i] = form == WeightForm::kScanA ? -1.0f - static_cast<float>(i % k) : form == WeightForm::kConv ? 0.3f * n : 1 + 0.1f * n;
      }
      return sink(std::as_bytes(std::span(values)));
    }
    const uint64_t row = row_bytes(dtype, k), at_once = std::max<uint64_t>(kChunkBytes / row, 1);
    std::vector<std::byte> chunk(std::min(at_once, rows) * row);
    for (uint64_t r = 0; r < rows; r += at_once) {
      const uint64_t n = std::min(at_once, rows - r);
      random_rows(dtype, n, k, seed + r, chunk.data());
      SLUICE_TRY_VOID(sink(std::span(chunk).first(n * row)));
    }
    return {};
  };
  return tensor;
}

void put_vocabulary(weights::GgufWriter& writer, uint64_t size) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(fmt::format("<0x{:02X}>", byte));
    types.push_back(6);
  }
  while (tokens.size() < size) {
    tokens.push_back(fmt::format("\xE2\x96\x81w{}", tokens.size()));
    types.push_back(1);
  }
  tokens.resize(size);
  types.resize(size);
  std::vector<float> scores(size);
  for (size_t i = 0; i < size; ++i) scores[i] = -static_cast<float>(i);
  writer.put("tokenizer.ggml.model", "llama");
  writer.put("tokenizer.ggml.pre", "default");
  writer.put("tokenizer.ggml.tokens", tokens);
  writer.put("tokenizer.ggml.scores", scores);
  writer.put("tokenizer.ggml.token_type", types);
  writer.put("tokenizer.ggml.bos_token_id", uint32_t{1});
  writer.put("tokenizer.ggml.eos_token_id", uint32_t{2});
  writer.put("tokenizer.ggml.unknown_token_id", uint32_t{0});
}

void put_fields(weights::GgufWriter& writer, const json& fields) {
  for (const auto& [key, value] : fields.items()) {
    if (value.is_string()) writer.put(key, value.get<std::string>());
    if (value.is_boolean()) writer.put(key, value.get<bool>());
    if (value.is_number_float()) writer.put(key, value.get<float>());
    if (value.is_number_integer()) writer.put(key, value.get<uint32_t>());
    if (value.is_array()) writer.put(key, std::span<const int32_t>(value.get<std::vector<int32_t>>()));
  }
}

}  // namespace

Status synthesize(const weights::Checkpoint& config, const std::filesystem::path& out, const SynthOptions& options) {
  if (options.recipe != "q4_k_m" && !dtype_from_name(options.recipe)) {
    return Error{fmt::format("weight type '{}' is unknown; for example q4_k_m, q8_0, q4_0, f16", options.recipe)};
  }
  if (config.format() != weights::Format::kHuggingFace) return Error{fmt::format("{}: synth takes a Hugging Face config.json", config.name())};
  Program hf;
  std::string architecture;
  SLUICE_TRY(json fields, gguf_fields(config, hf, architecture));
  SLUICE_TRY(const Program program, gguf_program(fields, hf));
  fields["general.name"] = fmt::format("synthetic {} ({})", hf.facts.family, options.recipe);
  fields["general.quantization_version"] = 2;
  weights::GgufWriter writer;
  put_fields(writer, fields);
  put_vocabulary(writer, program.facts.vocabulary);
  std::map<std::string, bool> written;
  uint64_t seed = options.seed << 32;
  for (const Value& value : program.values) {
    if (value.kind != program::ValueKind::kWeight || value.sources.empty() || !written.emplace(value.sources[0], true).second) continue;
    writer.add(tensor_of(value, options.recipe, program, seed += 1u << 20));
  }
  return writer.write(out, options.progress);
}

}  // namespace sluice::compiler
