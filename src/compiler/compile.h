// From a checkpoint to something that runs: the passes in order, and the package on disk or in memory. plan() is the only pass left to whoever loads it,
// because rows, context and KV type are the run's choice.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "compiler/passes.h"
#include "models/config.h"
#include "program/program.h"
#include "weights/checkpoint.h"

namespace sluice::compiler {

// A model ready to be planned and bound. `weights` lives as long as `owner`.
struct Model {
  program::Program program;
  std::string tokenizer;  // as it was given to compile
  std::span<const std::byte> weights;
  std::shared_ptr<const void> owner;
  uint64_t fingerprint = 0;
};

// The fields of a checkpoint as models/ reads them; the checkpoint must outlive the result.
models::Config config_of(const weights::Checkpoint& checkpoint);

struct CompileOptions {
  bool observers = false;  // keep the marks that `logits --hidden` reads
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;
};

// The passes up to packing: a verified program whose weights are placed. `stop_after`: name of a pass ("lower", "fuse", "select"), or empty.
Result<program::Program> compile_program(const weights::Checkpoint& checkpoint, const CompileOptions& options, std::string_view stop_after);

Result<Model> compile_in_memory(const weights::Checkpoint& checkpoint, std::string tokenizer, const CompileOptions& options);
Status compile_to_file(const weights::Checkpoint& checkpoint, std::string_view tokenizer, const std::filesystem::path& path, const CompileOptions& options);
Result<Model> open_package(const std::filesystem::path& path);

}  // namespace sluice::compiler
