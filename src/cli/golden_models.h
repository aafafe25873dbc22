// The golden models of our families: one line a model. Logits (golden_test) and bit identity (determinism_test) run over this list.
#pragma once

namespace sluice::cli {

struct Golden {
  const char* folder;
  const char* file;  // in the folder; empty: the folder itself
};

// One line a model: the folder, and its GGUF twin where it has one.
inline constexpr Golden kGoldens[] = {
    {"jamba-dense", ""}, {"jamba-dense", "model.gguf"},
    {"jamba-moe", ""}, {"jamba-moe", "model.gguf"},
    {"jamba-3b-shape", ""}, {"jamba-3b-shape", "model.gguf"},
    {"llama", ""}, {"llama", "model.gguf"},
    {"llama3-tied", ""}, {"llama3-tied", "model.gguf"},
    {"llama-bias", ""}, {"llama-bias", "model.gguf"},
    {"mistral-window", ""},
    {"mamba", ""}, {"mamba", "model.gguf"},
    {"falcon-mamba", ""}, {"falcon-mamba", "model.gguf"},
    {"qwen2", ""}, {"qwen2", "model.gguf"},
    {"qwen3", ""}, {"qwen3", "model.gguf"},
    {"qwen3-moe", ""}, {"qwen3-moe", "model.gguf"},
    {"mixtral", ""}, {"mixtral", "model.gguf"},
    {"gemma2", ""}, {"gemma2", "model.gguf"},
    {"gemma3", ""}, {"gemma3", "model.gguf"}, {"gemma3-scaled", ""},
};

}  // namespace sluice::cli
