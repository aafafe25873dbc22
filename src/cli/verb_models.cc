// `sluice pull`, `sluice list`, `sluice rm`: models from elsewhere, and the local folder that they live in.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/output.h"
#include "cli/verb_models.h"
#include "hub/model_folder.h"
#include "hub/pull.h"

namespace sluice::cli {
namespace {

std::string variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == 0 ? otherwise : value;
}

std::string without_slash(std::string text) {
  while (text.ends_with('/')) text.pop_back();
  return text;
}

}  // namespace

int pull_model(const PullVerbOptions& o) {
  std::unique_ptr<ProgressBar> bar;
  std::string of;
  hub::PullOptions options;
  options.folder = hub::model_folder();
  options.source = o.source;
  options.sha256 = o.sha256;
  options.hub_url = without_slash(variable("HF_ENDPOINT", "https://huggingface.co"));
  options.token = variable("HF_TOKEN", "");
  options.progress = [&](const std::string& file, uint64_t done, uint64_t total) {
    if (!bar || of != file) bar = std::make_unique<ProgressBar>(file, total);
    of = file;
    bar->update(done);
  };
  options.say = [&](const std::string& sentence) {
    bar.reset();
    if (!o.json) fmt::print(stderr, "sluice: {}\n", sentence);
  };
  const Result<hub::Pulled> pulled = hub::pull(options);
  bar.reset();
  if (!pulled.ok()) return fail(pulled.error());
  if (o.json) fmt::print("{}\n", nlohmann::ordered_json({{"name", pulled->name}, {"bytes", pulled->bytes}, {"folder", options.folder.string()}}).dump());
  else fmt::print("{}\n", pulled->name);
  return 0;
}

int list_models(const ListVerbOptions& o) {
  const Result<std::vector<hub::LocalModel>> models = hub::list_models(hub::model_folder());
  if (!models.ok()) return fail(models.error());
  if (o.json) {
    nlohmann::ordered_json out = nlohmann::ordered_json::array();
    for (const hub::LocalModel& model : *models) {
      out.push_back({{"name", model.name}, {"bytes", model.bytes}, {"modified", model.modified_s}, {"folder", model.folder}, {"partial", model.partial}});
    }
    fmt::print("{}\n", out.dump());
    return 0;
  }
  for (const hub::LocalModel& model : *models) {
    const std::string when = fmt::format("{:%Y-%m-%d}", fmt::gmtime(static_cast<std::time_t>(model.modified_s)));
    fmt::print("{:<60} {:>10}  {}{}\n", model.name, bytes_text(model.bytes), when, model.partial ? "  (partial: pull it again to go on)" : "");
  }
  if (models->empty()) fmt::print(stderr, "sluice: no models in {}; `sluice pull hf://OWNER/REPO` gets one\n", hub::model_folder().string());
  return 0;
}

int remove_model(const RemoveVerbOptions& o) {
  const Result<uint64_t> bytes = hub::remove_model(hub::model_folder(), o.name);
  if (!bytes.ok()) return fail(bytes.error());
  fmt::print(stderr, "sluice: {} removed, {} free\n", o.name, bytes_text(*bytes));
  return 0;
}

}  // namespace sluice::cli
