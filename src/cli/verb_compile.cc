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

int print_program(const Result<program::Program>& program, const InspectOptions& options) {
  if (!program.ok()) return fail(program.error());
  if (options.model.json) {
    fmt::print("{}\n", nlohmann::ordered_json({{"program", program::print(*program)}}).dump(2));
  } else {
    fmt::print("{}", program::print(*program));
  }
  return 0;
}

struct Entry {
  std::string name, type;
  std::vector<uint64_t> shape;
  uint64_t bytes = 0;
};

int print_entries(const nlohmann::json& config, const std::vector<Entry>& entries, const InspectOptions& options) {
  if (options.model.json) {
    nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
    for (const Entry& e : entries) tensors.push_back({{"name", e.name}, {"type", e.type}, {"shape", e.shape}, {"bytes", e.bytes}});
    const nlohmann::ordered_json out = {{"config", config}, {"tensors", tensors}};
    fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    return 0;
  }
  for (const auto& [key, value] : config.items()) {
    const std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    fmt::print("{:<44} {}\n", key, text.size() > 100 ? text.substr(0, 97) + "..." : text);
  }
  fmt::print("\n");
  uint64_t bytes = 0;
  for (const Entry& e : entries) {
    fmt::print("{:<44} {:<8} {:<18} {:>12}\n", e.name, e.type, shape_text(e.shape), bytes_text(e.bytes));
    bytes += e.bytes;
  }
  fmt::print("\n{} tensors, {}\n", entries.size(), bytes_text(bytes));
  return 0;
}

// A package holds the model's facts, its program and packed weights; the checkpoint's metadata stays behind.
int inspect_package(const InspectOptions& options) {
  Result<compiler::Model> model = compiler::open_package(options.model.path);
  if (!model.ok()) return fail(model.error());
  if (!options.stop_after.empty()) return fail(Error{fmt::format("{}: a package holds the program after the last pass", options.model.path)});
  if (options.program) return print_program(std::move(model->program), options);
  const program::ModelFacts& facts = model->program.facts;
  const nlohmann::json config = {{"family", facts.family}, {"name", facts.name}, {"layers", facts.layers}, {"vocabulary", facts.vocabulary},
                                 {"context_max", facts.context_max}, {"hidden", facts.hidden}, {"params_total", facts.params_total},
                                 {"params_active", facts.params_active}, {"fingerprint", fmt::format("{:016x}", model->fingerprint)},
                                 {"tokenizer_bytes", model->tokenizer.size()}};
  std::vector<Entry> entries;
  for (const program::Value& v : model->program.values) {
    if (v.kind != program::ValueKind::kWeight) continue;
    std::vector<uint64_t> shape{v.n};
    if (v.k > 0) shape.push_back(v.k);
    if (v.count > 1) shape.insert(shape.begin(), v.count);
    entries.push_back({v.name, std::string(info(v.dtype).name), shape, v.bytes});
  }
  return print_entries(config, entries, options);
}

}  // namespace

int inspect(const InspectOptions& options) {
  if (names_package(options.model.path)) return inspect_package(options);
  const Result<weights::Checkpoint> checkpoint = open_checkpoint(options.model.path);
  if (!checkpoint.ok()) return fail(checkpoint.error());
  if (options.program) return print_program(compiler::compile_program(*checkpoint, {.observers = true, .progress = {}}, options.stop_after), options);
  std::vector<Entry> entries;
  for (const weights::TensorView& t : checkpoint->tensors()) entries.push_back({std::string(t.name), std::string(info(t.dtype).name), t.shape, t.bytes.size()});
  return print_entries(checkpoint->config(), entries, options);
}

}  // namespace sluice::cli
