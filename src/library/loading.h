// From a path to a running model: opens a GGUF file, a Hugging Face folder, a compiled package or (nothing named) the embedded model; compiles it once into
// the cache folder; plans it within the memory cap and refuses what does not fit, saying what would.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "compiler/compile.h"
#include "compiler/memory_plan.h"
#include "runtime/runtime.h"
#include "text/tokenizer.h"
#include "weights/checkpoint.h"

namespace sluice::library {

// What everything that runs a model may choose.
struct ModelOptions {
  std::string path;          // empty: the embedded model
  uint64_t context = 0;      // 0: 4096 or what the model and the cap allow
  std::string memory;        // cap; empty: none
  uint32_t threads = 0;      // 0: the CPUs this process may use
  std::string isa;           // empty: the best this CPU has
  std::string kv = "f16";
  uint64_t users = 1;        // conversations at once: memory for each, and a row of logits
  uint64_t logit_rows = 0;   // rows of logits a step at most; 0: one a user
  uint64_t rows = 0;         // rows a step at most; 0: 512 or what the cap allows
  bool json = false;
  bool all_logits = false;   // every row of a step may ask for logits
  bool observers = false;
  bool no_cache = false;
  std::function<void(uint64_t done, uint64_t total)> progress;  // while compiling; may be empty
  std::function<void(const std::string&)> note;                 // what a person may want to know and nothing fails for; may be empty
};

struct LoadedModel {
  std::unique_ptr<runtime::Runtime> runtime;
  Result<text::Tokenizer> tokenizer = Error{"not loaded"};
  compiler::MemoryPlan plan;
  uint64_t context = 0;
  uint64_t fingerprint = 0;
  std::string name;
};

// What a run may have under its cap: it reads in smaller steps, then (where no context is given) with a shorter context, before it refuses. `sluice plan`
// tells the same, so what it says fits, starts.
struct Fit {
  uint64_t context = 0;
  uint64_t rows = 0;
  compiler::MemoryPlan plan;
  uint64_t cap = 0;              // 0: none
  bool fits = true;
  uint64_t longest_context = 0;  // that fits the cap; 0: none does
  uint64_t smallest_cap = 0;     // with which a page of context fits
};
Result<Fit> fit(const program::Program& program, const ModelOptions& options);

Result<LoadedModel> load(const ModelOptions& options);

// A compiled (not planned) model, from the cache when it is there.
Result<compiler::Model> compiled(const ModelOptions& options);
// With fewer users where not all fit under the cap: fewer rather than none.
Result<ModelOptions> with_users_that_fit(ModelOptions options);

// `path` empty: the embedded model.
Result<weights::Checkpoint> open_checkpoint(const std::string& path);
// True for a compiled package, of any version.
bool names_package(const std::string& path);

// The tokenizer of a checkpoint, as the package stores it; or why it has none.
Result<text::TokenizerSpec> tokenizer_of(const weights::Checkpoint& checkpoint);
// From a model, a package, tokenizer.json, tokenizer.model or a vocabulary-only GGUF.
Result<text::Tokenizer> open_tokenizer(const std::string& path);

Result<Isa> choose_isa(const std::string& name);
Result<kernels::KvType> kv_type_from_name(const std::string& name);
std::span<const std::byte> embedded_model();
std::filesystem::path cache_folder();

}  // namespace sluice::library
