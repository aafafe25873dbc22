// `sluice pull`: from hf://OWNER/REPO[@REVISION][:FILE] or an https address to files in the local folder of models.
// Contract: what a server calls a file is checked like what a user types (model_folder.h). Nothing is pulled that would not be loaded: weights, tokenizer,
// configuration; never code. Next: transfer.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::hub {

struct Source {
  std::string owner, repository, revision = "main", file;  // of a hub
  std::string url, name;                                   // of a plain address: the file's name in the folder
  bool hub = false;
};
Result<Source> parse_source(const std::string& text);

struct RemoteFile {
  std::string path;      // inside the repository
  uint64_t bytes = 0;
  std::string sha256;    // of large files
  std::string git_sha1;  // of small ones
};
// What of a repository's files is to be pulled for `file` (empty: the one GGUF file, or the checkpoint of safetensors files; "Q4_K_M": the GGUF file with
// that in its name). Errors list the choices.
Result<std::vector<RemoteFile>> choose_files(const std::vector<RemoteFile>& all, const std::string& file);
// The hub's answer to api/models/OWNER/REPO/tree/REVISION.
Result<std::vector<RemoteFile>> parse_tree(std::string_view json);

struct PullOptions {
  std::filesystem::path folder;
  std::string source;
  std::string sha256;     // expected of a single file
  std::string hub_url;    // "https://huggingface.co"
  std::string token;      // for the hub only
  uint32_t wait_ms = 500; // before the first retry
  std::function<void(const std::string& file, uint64_t done, uint64_t total)> progress;
  std::function<void(const std::string& sentence)> say;
};
struct Pulled {
  std::string name;       // as `sluice run` takes it
  uint64_t bytes = 0;
};
Result<Pulled> pull(const PullOptions& options);

}  // namespace sluice::hub
