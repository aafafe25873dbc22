// A GGUF file of a published shape with random weights, so that engines can be timed on the same bytes where no model can be downloaded: config.json in,
// tensors under the names and types that a converted and quantised file would have.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "base/result.h"
#include "weights/checkpoint.h"

namespace sluice::compiler {

struct SynthOptions {
  std::string recipe = "q4_k_m";  // a weight type, or q4_k_m: Q4_K with Q6_K for the head, attn_v and ffn_down of every other layer
  uint64_t seed = 1;
  std::function<void(uint64_t bytes)> progress;
};

// `config`: a Hugging Face configuration (no tensors). The vocabulary is generated: bytes and numbered words.
Status synthesize(const weights::Checkpoint& config, const std::filesystem::path& out, const SynthOptions& options);

// Bytes of random blocks of a type, rows of `k` elements: values with a standard deviation near 0.5 / sqrt(k), never NaN or infinite.
void random_rows(DType type, uint64_t rows, uint64_t k, uint64_t seed, std::byte* out);

}  // namespace sluice::compiler
