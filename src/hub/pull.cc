#include "hub/pull.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "hub/model_folder.h"
#include "hub/transfer.h"

namespace sluice::hub {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kTreeBytesMax = 16ull << 20;
constexpr size_t kFilesMax = 10'000;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return out;
}

// What a checkpoint of safetensors needs to be loaded; no code, no pickles.
bool belongs_to_checkpoint(std::string_view path) {
  constexpr std::string_view kNames[] = {"config.json",  "generation_config.json", "tokenizer.json",      "tokenizer_config.json",
                                         "tokenizer.model", "special_tokens_map.json", "chat_template.jinja", "model.safetensors.index.json"};
  return std::find(std::begin(kNames), std::end(kNames), path) != std::end(kNames) ||
         (path.ends_with(".safetensors") && path.find('/') == std::string_view::npos);
}

std::string choices(const std::vector<RemoteFile>& files) {
  std::string out;
  for (const RemoteFile& file : files) out += fmt::format("\n  :{}  {:.2f} GiB", file.path, static_cast<double>(file.bytes) / (1ull << 30));
  return out;
}

Result<RemoteFile> one_of(const std::vector<RemoteFile>& files, const std::string& file) {
  for (const RemoteFile& one : files) {
    if (one.path == file) return one;
  }
  std::vector<RemoteFile> matches;
  for (const RemoteFile& one : files) {
    if (one.path.ends_with(".gguf") && lower(one.path).find(lower(file)) != std::string::npos) matches.push_back(one);
  }
  if (matches.size() == 1) return matches[0];
  return Error{fmt::format("':{}' names {} of the repository's files; there {}:{}", file, matches.empty() ? "none" : "more than one",
                           files.size() == 1 ? "is" : "are", choices(matches.empty() ? files : matches))};
}

Status make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return Error{fmt::format("cannot make the folder {}: {} (XDG_DATA_HOME chooses another)", folder.string(), error.message())};
  return {};
}

Result<FileResult> get(const PullOptions& options, FileRequest request, const std::string& name) {
  request.path = options.folder / name;
  request.wait_ms = options.wait_ms;
  SLUICE_TRY_VOID(make_folder(request.path.parent_path()));
  if (options.progress) request.progress = [&](uint64_t done, uint64_t total) { options.progress(name, done, total); };
  SLUICE_TRY(FileResult result, fetch_file(request));
  if (options.say) {
    const std::string resumed = result.resumed_at == 0 ? "" : fmt::format(", resumed at {}", result.resumed_at);
    options.say(fmt::format("{}: {} bytes{}, sha256 {} {}", name, result.bytes, resumed, result.sha256,
                            result.checked ? "(checked)" : "(the server names no checksum: compare it yourself, or give --sha256)"));
  }
  return result;
}

bool is_there(const PullOptions& options, const std::string& name, uint64_t bytes) {
  std::error_code error;
  const fs::path path = options.folder / name;
  if (!fs::is_regular_file(path, error)) return false;
  const uint64_t have = fs::file_size(path, error);
  if (error || (bytes != 0 && have != bytes)) return false;
  if (options.say) options.say(fmt::format("{}: is here already, {} bytes (`sluice rm` removes it)", name, have));
  return true;
}

Result<Pulled> pull_hub(const PullOptions& options, const Source& source) {
  const std::string repository = source.owner + "/" + source.repository;
  const std::string tree_url = fmt::format("{}/api/models/{}/tree/{}?recursive=true", options.hub_url, repository, percent_encoded(source.revision));
  SLUICE_TRY(const std::string tree, fetch_text(tree_url, options.token, kTreeBytesMax));
  SLUICE_TRY(const std::vector<RemoteFile> all, parse_tree(tree));
  SLUICE_TRY(const std::vector<RemoteFile> files, choose_files(all, source.file));
  if (!options.sha256.empty() && files.size() != 1) return Error{fmt::format("--sha256 is for one file; {} has {} to pull", repository, files.size())};
  Pulled pulled{.name = repository};
  for (const RemoteFile& file : files) {
    const std::string name = repository + "/" + file.path;
    SLUICE_TRY_VOID(check_name(name));
    pulled.bytes += file.bytes;
    if (files.size() == 1) pulled.name = name;
    if (is_there(options, name, file.bytes)) continue;
    FileRequest request;
    request.url = fmt::format("{}/{}/resolve/{}/{}", options.hub_url, repository, percent_encoded(source.revision), percent_encoded(file.path));
    request.token = options.token;
    request.sha256 = options.sha256.empty() ? file.sha256 : options.sha256;
    request.git_sha1 = file.git_sha1;
    request.bytes = file.bytes;
    SLUICE_TRY(const FileResult result, get(options, std::move(request), name));
    (void)result;
  }
  return pulled;
}

}  // namespace

Result<Source> parse_source(const std::string& text) {
  constexpr std::string_view kHub = "hf://";
  Source source;
  if (!text.starts_with(kHub)) {
    SLUICE_TRY_VOID(check_url(text));
    source.url = text;
    const std::string path = text.substr(0, text.find_first_of("?#"));
    source.name = path.substr(path.rfind('/') + 1);
    SLUICE_TRY_VOID(check_name_part(source.name));
    if (!source.name.ends_with(".gguf") && !source.name.ends_with(".sluice")) {
      return Error{fmt::format("'{}': the address must end with the name of a .gguf or .sluice file", source.name)};
    }
    return source;
  }
  source.hub = true;
  std::string rest = text.substr(kHub.size());
  if (const size_t colon = rest.find(':'); colon != std::string::npos) {
    source.file = rest.substr(colon + 1);
    rest.resize(colon);
    SLUICE_TRY_VOID(check_name(source.file));
  }
  if (const size_t at = rest.find('@'); at != std::string::npos) {
    source.revision = rest.substr(at + 1);
    rest.resize(at);
    SLUICE_TRY_VOID(check_name(source.revision));
  }
  const size_t slash = rest.find('/');
  if (slash == std::string::npos || rest.find('/', slash + 1) != std::string::npos) {
    return Error{fmt::format("'{}': write hf://OWNER/REPO, hf://OWNER/REPO:FILE or hf://OWNER/REPO@REVISION:FILE", text)};
  }
  source.owner = rest.substr(0, slash);
  source.repository = rest.substr(slash + 1);
  SLUICE_TRY_VOID(check_name_part(source.owner));
  SLUICE_TRY_VOID(check_name_part(source.repository));
  return source;
}

Result<std::vector<RemoteFile>> parse_tree(std::string_view text) {
  const Error wrong{"the hub's list of files is not what it should be"};
  const nlohmann::json tree = nlohmann::json::parse(text, nullptr, false);
  if (!tree.is_array() || tree.size() > kFilesMax) return wrong;
  std::vector<RemoteFile> files;
  for (const nlohmann::json& entry : tree) {
    if (!entry.is_object() || !entry.contains("path") || !entry["path"].is_string() || !entry.contains("type")) return wrong;
    if (entry["type"] != "file") continue;
    RemoteFile file{.path = entry["path"].get<std::string>()};
    if (entry.contains("size") && entry["size"].is_number_unsigned()) file.bytes = entry["size"].get<uint64_t>();
    if (entry.contains("oid") && entry["oid"].is_string()) file.git_sha1 = entry["oid"].get<std::string>();
    if (entry.contains("lfs") && entry["lfs"].is_object() && entry["lfs"].contains("oid") && entry["lfs"]["oid"].is_string()) {
      file.sha256 = entry["lfs"]["oid"].get<std::string>();
      file.git_sha1.clear();  // it is that of the pointer
    }
    files.push_back(std::move(file));
  }
  return files;
}

Result<std::vector<RemoteFile>> choose_files(const std::vector<RemoteFile>& all, const std::string& file) {
  if (!file.empty()) {
    SLUICE_TRY(RemoteFile one, one_of(all, file));
    return std::vector<RemoteFile>{std::move(one)};
  }
  std::vector<RemoteFile> gguf, checkpoint;
  bool weights = false;
  for (const RemoteFile& one : all) {
    if (one.path.ends_with(".gguf")) gguf.push_back(one);
    if (!belongs_to_checkpoint(one.path)) continue;
    checkpoint.push_back(one);
    weights = weights || one.path.ends_with(".safetensors");
  }
  if (weights) return checkpoint;
  if (gguf.size() == 1) return gguf;
  if (gguf.empty()) return Error{"the repository has neither a GGUF nor a safetensors file"};
  return Error{fmt::format("the repository has {} GGUF files; name one:{}", gguf.size(), choices(gguf))};
}

Result<Pulled> pull(const PullOptions& options) {
  SLUICE_TRY(const Source source, parse_source(options.source));
  if (source.hub) return pull_hub(options, source);
  if (is_there(options, source.name, 0)) return Pulled{source.name, 0};
  FileRequest request;
  request.url = source.url;
  request.sha256 = options.sha256;
  SLUICE_TRY(const FileResult result, get(options, std::move(request), source.name));
  return Pulled{source.name, result.bytes};
}

}  // namespace sluice::hub
