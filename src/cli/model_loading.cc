#include "cli/model_loading.h"

#include <fmt/format.h>

#include <cstdlib>

#include "cli/output.h"
#include "hub/model_folder.h"

namespace sluice::cli {

namespace fs = std::filesystem;

namespace {

Result<std::string> find(const std::string& named) { return hub::find_model(hub::model_folder(), named); }

// The options as the library wants them: a path in place of a name, and somebody who listens.
Result<ModelOptions> before_people(const ModelOptions& given) {
  ModelOptions options = given;
  SLUICE_TRY(options.path, find(given.path));
  const std::string label = "compiling " + (options.path.empty() ? "embedded model" : fs::path(options.path).filename().string());
  options.progress = [label, bar = std::shared_ptr<ProgressBar>()](uint64_t done, uint64_t total) mutable {
    if (!bar) bar = std::make_shared<ProgressBar>(label, total);
    bar->update(done);
  };
  options.note = [](const std::string& what) { fmt::print(stderr, "sluice: {}\n", what); };
  return options;
}

}  // namespace

Result<LoadedModel> load_model(const ModelOptions& given) {
  SLUICE_TRY(const ModelOptions options, before_people(given));
  return library::load(options);
}

Result<compiler::Model> open_or_compile(const ModelOptions& given) {
  SLUICE_TRY(const ModelOptions options, before_people(given));
  return library::compiled(options);
}

Result<ModelOptions> with_fitting_users(const ModelOptions& given) {
  SLUICE_TRY(const ModelOptions options, before_people(given));
  SLUICE_TRY(const ModelOptions fitting, library::with_users_that_fit(options));
  ModelOptions out = given;
  out.users = fitting.users;
  return out;
}

Result<weights::Checkpoint> open_checkpoint(const std::string& named) {
  SLUICE_TRY(const std::string path, find(named));
  return library::open_checkpoint(path);
}

Result<text::Tokenizer> open_tokenizer(const std::string& named) {
  SLUICE_TRY(const std::string path, find(named));
  return library::open_tokenizer(path);
}

fs::path state_folder() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state == '/') return fs::path(state) / "sluice";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') return fs::path(home) / ".local" / "state" / "sluice";
  return fs::temp_directory_path() / "sluice-state";
}

}  // namespace sluice::cli
