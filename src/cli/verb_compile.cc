// `sluice compile` and `sluice inspect`: the package of a model, and what is in a model's file.
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "cli/output.h"
#include "cli/verbs.h"
#include "program/text.h"

namespace sluice::cli {

int compile(const CompileVerbOptions& options) {
  const Result<weights::Checkpoint> checkpoint = open_checkpoint(options.model.path);
  if (!checkpoint.ok()) return fail(checkpoint.error());
  const Result<text::TokenizerSpec> spec = tokenizer_of(*checkpoint);
  if (!spec.ok()) fmt::print(stderr, "sluice: the package will have no tokenizer: {}\n", spec.error().message);
  const auto start = std::chrono::steady_clock::now();
  std::unique_ptr<ProgressBar> bar;
  compiler::CompileOptions compile;
  compile.progress = [&](uint64_t done, uint64_t total) {
    if (!bar) bar = std::make_unique<ProgressBar>("compiling", total);
    bar->update(done);
  };
  const Status status = compiler::compile_to_file(*checkpoint, spec.ok() ? text::serialize(*spec) : std::string(), options.out, compile);
  bar.reset();
  if (!status.ok()) return fail(status.error());
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(options.out, error);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.model.json) {
    fmt::print("{}\n", nlohmann::ordered_json({{"package", options.out}, {"bytes", bytes}, {"seconds", seconds}}).dump(2));
  } else {
    fmt::print("{}: {} in {:.1f} s\n", options.out, bytes_text(bytes), seconds);
  }
  return 0;
}

namespace {

std::string shape_text(const std::vector<uint64_t>& shape) {
  std::string out;
  for (const uint64_t side : shape) out += fmt::format("{}{}", out.empty() ? "" : "x", side);
  return out.empty() ? "scalar" : out;
}

int print_program(const weights::Checkpoint& checkpoint, const InspectOptions& options) {
  const Result<program::Program> program = compiler::compile_program(checkpoint, {.observers = true, .progress = {}}, options.stop_after);
  if (!program.ok()) return fail(program.error());
  fmt::print("{}", program::print(*program));
  return 0;
}

}  // namespace

int inspect(const InspectOptions& options) {
  const Result<weights::Checkpoint> checkpoint = open_checkpoint(options.model.path);
  if (!checkpoint.ok()) return fail(checkpoint.error());
  if (options.program) return print_program(*checkpoint, options);
  if (options.model.json) {
    nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
    for (const weights::TensorView& t : checkpoint->tensors()) {
      tensors.push_back({{"name", t.name}, {"type", info(t.dtype).name}, {"shape", t.shape}, {"bytes", t.bytes.size()}});
    }
    const nlohmann::ordered_json out = {{"config", checkpoint->config()}, {"tensors", tensors}};
    fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    return 0;
  }
  for (const auto& [key, value] : checkpoint->config().items()) {
    const std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    fmt::print("{:<44} {}\n", key, text.size() > 100 ? text.substr(0, 97) + "..." : text);
  }
  fmt::print("\n");
  uint64_t bytes = 0;
  for (const weights::TensorView& t : checkpoint->tensors()) {
    fmt::print("{:<44} {:<8} {:<18} {:>12}\n", t.name, info(t.dtype).name, shape_text(t.shape), bytes_text(t.bytes.size()));
    bytes += t.bytes.size();
  }
  fmt::print("\n{} tensors, {}\n", checkpoint->tensors().size(), bytes_text(bytes));
  return 0;
}

}  // namespace sluice::cli
