// The local folder of models: where `sluice pull` puts them and where a name that is no path is looked for.
// Contract: names come from people and from servers; a name that could leave the folder, or hide in it, is an Error that shows it. Nothing outside the
// folder is ever read, listed or removed; links are not followed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::hub {

// $XDG_DATA_HOME/sluice/models, or ~/.local/share/sluice/models.
std::filesystem::path model_folder();

// One part of a name between slashes: 1 to 128 letters, digits and "._+=@-", not beginning with '.' or '-'.
Status check_name_part(std::string_view part);
// Up to four parts.
Status check_name(std::string_view name);

struct LocalModel {
  std::string name;       // relative to the folder, with slashes
  uint64_t bytes = 0;
  int64_t modified_s = 0; // Unix time
  bool folder = false;    // a checkpoint of several files
  bool partial = false;   // a download that has not ended
};
// By name. A folder that does not exist is an empty one.
Result<std::vector<LocalModel>> list_models(const std::filesystem::path& folder);

// The path of what the user named: an existing path as it is; else a model of the folder by its whole name, its repository when that holds one model, or
// its file's name (with or without .gguf) when only one has it. `named` empty stays empty.
Result<std::string> find_model(const std::filesystem::path& folder, const std::string& named);

// Removes one model (and what is left of its download); folders that become empty go too. The bytes that were freed.
Result<uint64_t> remove_model(const std::filesystem::path& folder, const std::string& name);

}  // namespace sluice::hub
