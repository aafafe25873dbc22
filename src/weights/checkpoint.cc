#include "weights/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "platform/file.h"
#include "weights/gguf_metadata.h"
#include "weights/hash.h"
#include "weights/json.h"
#include "weights/names.h"
#include "weights/safetensors.h"

namespace sluice::weights {
namespace {

namespace fs = std::filesystem;
using platform::FileIdentity;
using platform::MappedFile;

constexpr uint64_t kSampleBytes = 4096;
constexpr uint64_t kSamples = 16;

Error at(const fs::path& path, const Error& error) { return Error{path.string() + ": " + error.message}; }

template <class T>
uint64_t hash_value(const T& value, uint64_t seed) {
  return hash64(std::as_bytes(std::span(&value, 1)), seed);
}

uint64_t hash_text(std::string_view text, uint64_t seed) { return hash64(std::as_bytes(std::span(text.data(), text.size())), seed); }

// Size, time, header and samples spread over the data, the last one at its end.
uint64_t fingerprint_of(std::span<const std::byte> bytes, int64_t modified_ns, uint64_t header_bytes, uint64_t seed) {
  const uint64_t identity[2] = {bytes.size(), static_cast<uint64_t>(modified_ns)};
  uint64_t hash = hash_value(identity, seed);
  hash = hash64(bytes.first(std::min<uint64_t>(header_bytes, bytes.size())), hash);
  const uint64_t last = bytes.size() > kSampleBytes ? bytes.size() - kSampleBytes : 0;
  for (uint64_t i = 0; i < kSamples; ++i) {
    const uint64_t begin = last / (kSamples - 1) * i + (i == kSamples - 1 ? last % (kSamples - 1) : 0);
    hash = hash64(bytes.subspan(begin, std::min<uint64_t>(kSampleBytes, bytes.size() - begin)), hash);
  }
  return hash;
}

uint64_t fingerprint_of(const fs::path& path, uint64_t seed) {
  if (path.empty()) return hash_value(uint64_t{0}, seed);
  const auto identity = platform::identify_file(path);
  const uint64_t parts[2] = {identity.ok() ? identity->size : 0, identity.ok() ? static_cast<uint64_t>(identity->modified_ns) : 0};
  return hash_value(parts, seed);
}

// The path if a regular file is there.
fs::path if_present(const fs::path& folder, const char* name) {
  const fs::path path = folder / name;
  return platform::identify_file(path).ok() ? path : fs::path();
}

ModelFiles files_in(const fs::path& folder) {
  ModelFiles files;
  files.config = folder / "config.json";
  files.generation_config = if_present(folder, "generation_config.json");
  files.tokenizer = if_present(folder, "tokenizer.json");
  files.tokenizer_config = if_present(folder, "tokenizer_config.json");
  files.tokenizer_model = if_present(folder, "tokenizer.model");
  files.chat_template = if_present(folder, "chat_template.jinja");
  return files;
}

// Names only: nothing of the kind is opened.
bool has_pickles(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string extension = entry->path().extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth") return true;
  }
  return false;
}

}  // namespace

struct Checkpoint::Parts {
  Format format = Format::kGguf;
  std::string name;
  nlohmann::json config;
  ModelFiles files;
  std::deque<MappedFile> mapped;
  std::optional<Gguf> gguf;
  std::vector<TensorView> tensors;
  std::vector<uint32_t> by_name;  // indices into tensors, sorted
  uint64_t config_hash = 0;  // of the text of config.json
  uint64_t fingerprint = 0;

  Status index();
  Result<Gguf> add_gguf_part(const fs::path& path);
  Status add_split_parts(const fs::path& first, const SplitPosition& position);
  Status add_safetensors(const fs::path& path, const ShardIndex* index, uint32_t file);
  Status add_shards(const fs::path& folder, const fs::path& index_path);
  Status read_config(const fs::path& path);
};

Status Checkpoint::Parts::index() {
  by_name.resize(tensors.size());
  for (size_t i = 0; i < by_name.size(); ++i) by_name[i] = static_cast<uint32_t>(i);
  std::sort(by_name.begin(), by_name.end(), [&](uint32_t a, uint32_t b) { return tensors[a].name < tensors[b].name; });
  for (size_t i = 1; i < by_name.size(); ++i) {
    const std::string& text = tensors[by_name[i]].name;
    if (text == tensors[by_name[i - 1]].name) return Error{name + ": tensor " + shown(text) + " is in two files"};
  }
  return {};
}

Result<Gguf> Checkpoint::Parts::add_gguf_part(const fs::path& path) {
  SLUICE_TRY(MappedFile file, MappedFile::open(path));
  mapped.push_back(std::move(file));
  const MappedFile& kept = mapped.back();
  Result<Gguf> parsed = Gguf::parse(kept.bytes());
  if (!parsed.ok()) return at(path, parsed.error());
  if (tensors.size() + parsed->tensors().size() > limits::kTensorsMax) {
    return Error{path.string() + ": the parts have more than " + std::to_string(limits::kTensorsMax) + " tensors together"};
  }
  append_views(*parsed, tensors);
  fingerprint = fingerprint_of(kept.bytes(), kept.identity().modified_ns, parsed->data_offset(), fingerprint);
  return parsed;
}

Status Checkpoint::Parts::add_split_parts(const fs::path& first, const SplitPosition& position) {
  for (uint64_t part = 1; part < position.count; ++part) {
    Result<fs::path> path = split_path(first, part, position.count);
    if (!path.ok()) return at(first, path.error());
    SLUICE_TRY(const Gguf gguf_part, add_gguf_part(*path));
    const Result<SplitPosition> found = split_position(gguf_part);
    if (!found.ok()) return at(*path, found.error());
    if (found->number != part || found->count != position.count) {
      return Error{path->string() + ": it says it is part " + std::to_string(found->number + 1) + " of " + std::to_string(found->count) +
                   ", its name says " + std::to_string(part + 1) + " of " + std::to_string(position.count)};
    }
  }
  const GgufValue* total = gguf->find("split.tensors.count");
  if (total == nullptr || position.count == 1) return {};
  const auto expected = total->is_array() ? std::nullopt : total->as_u64();
  if (expected == tensors.size()) return {};
  return Error{first.string() + ": the parts hold " + std::to_string(tensors.size()) + " tensors, split.tensors.count says " +
               (expected ? std::to_string(*expected) : std::string("something else"))};
}

Status Checkpoint::Parts::read_config(const fs::path& path) {
  SLUICE_TRY(const std::string text, platform::read_whole_file(path, limits::kConfigBytesMax));
  Result<nlohmann::json> parsed = parse_config(text);
  if (!parsed.ok()) return at(path, parsed.error());
  if (!parsed->is_object()) return Error{path.string() + ": it does not hold a JSON object"};
  config = std::move(*parsed);
  config_hash = hash_text(text, 0);
  fingerprint = hash_value(config_hash, fingerprint);
  return {};
}

Status Checkpoint::Parts::add_safetensors(const fs::path& path, const ShardIndex* index, uint32_t file) {
  SLUICE_TRY(MappedFile opened, MappedFile::open(path));
  mapped.push_back(std::move(opened));
  const MappedFile& kept = mapped.back();
  Result<Safetensors> parsed = parse_safetensors(kept.bytes());
  if (!parsed.ok()) return at(path, parsed.error());
  if (tensors.size() + parsed->tensors.size() > limits::kTensorsMax) {
    return Error{path.string() + ": the files have more than " + std::to_string(limits::kTensorsMax) + " tensors together"};
  }
  fingerprint = fingerprint_of(kept.bytes(), kept.identity().modified_ns, parsed->data_offset, fingerprint);
  for (TensorView& view : parsed->tensors) {
    if (index != nullptr) {
      const auto entry = std::lower_bound(index->entries.begin(), index->entries.end(), view.name,
                                          [](const ShardIndex::Entry& e, const std::string& wanted) { return e.tensor < wanted; });
      if (entry == index->entries.end() || entry->tensor != view.name || entry->file != file) {
        return Error{path.string() + ": the index does not name this file for tensor " + shown(view.name)};
      }
    }
    tensors.push_back(std::move(view));
  }
  return {};
}

Status Checkpoint::Parts::add_shards(const fs::path& folder, const fs::path& index_path) {
  SLUICE_TRY(const std::string text, platform::read_whole_file(index_path, limits::kSafetensorsHeaderBytesMax));
  const Result<ShardIndex> shards = parse_shard_index(text);
  if (!shards.ok()) return at(index_path, shards.error());
  fingerprint = hash_text(text, fingerprint);
  for (uint32_t i = 0; i < shards->files.size(); ++i) SLUICE_TRY_VOID(add_safetensors(folder / shards->files[i], &*shards, i));
  // Every tensor found is in the index, once per file; so equal counts mean that none is missing.
  if (tensors.size() != shards->entries.size()) {
    for (const ShardIndex::Entry& entry : shards->entries) {
      const bool found = std::any_of(tensors.begin(), tensors.end(), [&](const TensorView& view) { return view.name == entry.tensor; });
      if (!found) return Error{(folder / shards->files[entry.file]).string() + ": tensor " + shown(entry.tensor) + " of the index is missing"};
    }
  }
  return {};
}

Result<Checkpoint> Checkpoint::open(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return open_folder(path);
  if (path.extension() == ".json") return open_config(path);
  if (path.extension() == ".safetensors") {
    return Error{path.string() + ": weights alone are not a model; give the folder that holds them and config.json"};
  }
  return open_gguf(path);
}

Result<Checkpoint> Checkpoint::open_gguf(const fs::path& path) {
  auto parts = std::make_unique<Parts>();
  parts->format = Format::kGguf;
  parts->name = path.string();
  SLUICE_TRY(parts->gguf, parts->add_gguf_part(path));
  const Result<SplitPosition> position = split_position(*parts->gguf);
  if (!position.ok()) return at(path, position.error());
  if (position->number != 0) {
    return Error{path.string() + ": this is part " + std::to_string(position->number + 1) + " of " + std::to_string(position->count) +
                 ", open the first one"};
  }
  if (position->count > 1) SLUICE_TRY_VOID(parts->add_split_parts(path, *position));
  SLUICE_TRY_VOID(parts->index());
  Result<nlohmann::json> config = metadata_json(*parts->gguf);
  if (!config.ok()) return at(path, config.error());
  parts->config = std::move(*config);
  return Checkpoint(std::move(parts));
}

Result<Checkpoint> Checkpoint::from_memory(std::span<const std::byte> bytes, std::string_view name) {
  auto parts = std::make_unique<Parts>();
  parts->format = Format::kGguf;
  parts->name = name;
  Result<Gguf> parsed = Gguf::parse(bytes);
  if (!parsed.ok()) return at(parts->name, parsed.error());
  const Result<SplitPosition> position = split_position(*parsed);
  if (!position.ok()) return at(parts->name, position.error());
  if (position->count != 1) return Error{parts->name + ": a split file cannot be read from memory"};
  append_views(*parsed, parts->tensors);
  SLUICE_TRY_VOID(parts->index());
  Result<nlohmann::json> config = metadata_json(*parsed);
  if (!config.ok()) return at(parts->name, config.error());
  parts->config = std::move(*config);
  parts->fingerprint = fingerprint_of(bytes, 0, parsed->data_offset(), 0);
  parts->gguf = std::move(*parsed);
  return Checkpoint(std::move(parts));
}

Result<Checkpoint> Checkpoint::open_config(const fs::path& path) {
  auto parts = std::make_unique<Parts>();
  parts->format = Format::kHuggingFace;
  parts->name = path.string();
  parts->files.config = path;
  SLUICE_TRY_VOID(parts->read_config(path));
  return Checkpoint(std::move(parts));
}

Result<Checkpoint> Checkpoint::open_folder(const fs::path& folder) {
  auto parts = std::make_unique<Parts>();
  parts->format = Format::kHuggingFace;
  parts->name = folder.string();
  parts->files = files_in(folder);
  SLUICE_TRY_VOID(parts->read_config(parts->files.config));
  const fs::path index_path = if_present(folder, "model.safetensors.index.json");
  const fs::path single_path = if_present(folder, "model.safetensors");
  if (!index_path.empty()) {
    SLUICE_TRY_VOID(parts->add_shards(folder, index_path));
  } else if (!single_path.empty()) {
    SLUICE_TRY_VOID(parts->add_safetensors(single_path, nullptr, 0));
  } else {
    const char* advice = has_pickles(folder) ? " (its .bin and .pt files are not read: they can run code; convert them to safetensors)" : "";
    return Error{folder.string() + ": it holds neither model.safetensors nor model.safetensors.index.json" + advice};
  }
  SLUICE_TRY_VOID(parts->index());
  const ModelFiles& files = parts->files;
  for (const fs::path& path : {files.generation_config, files.tokenizer, files.tokenizer_config, files.tokenizer_model, files.chat_template}) {
    parts->fingerprint = fingerprint_of(path, parts->fingerprint);
  }
  return Checkpoint(std::move(parts));
}

Checkpoint::Checkpoint(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Format Checkpoint::format() const { return parts_->format; }
const std::string& Checkpoint::name() const { return parts_->name; }
const nlohmann::json& Checkpoint::config() const { return parts_->config; }
std::span<const TensorView> Checkpoint::tensors() const { return parts_->tensors; }
const Gguf* Checkpoint::gguf() const { return parts_->gguf ? &*parts_->gguf : nullptr; }
const ModelFiles& Checkpoint::files() const { return parts_->files; }
uint64_t Checkpoint::fingerprint() const { return parts_->fingerprint; }

const TensorView* Checkpoint::find(std::string_view name) const {
  const std::vector<TensorView>& all = parts_->tensors;
  const std::vector<uint32_t>& order = parts_->by_name;
  const auto at_name = std::lower_bound(order.begin(), order.end(), name, [&](uint32_t i, std::string_view wanted) { return all[i].name < wanted; });
  if (at_name == order.end() || all[*at_name].name != name) return nullptr;
  return &all[*at_name];
}

void Checkpoint::release(const TensorView& view) const {
  for (const MappedFile& file : parts_->mapped) {
    const std::span<const std::byte> all = file.bytes();
    if (all.empty() || view.bytes.data() < all.data() || view.bytes.data() >= all.data() + all.size()) continue;
    file.release(static_cast<uint64_t>(view.bytes.data() - all.data()), view.bytes.size());
    return;
  }
}

Result<GgufTokenizer> Checkpoint::gguf_tokenizer() const {
  if (!parts_->gguf) return Error{parts_->name + ": only GGUF files hold their tokenizer"};
  Result<GgufTokenizer> tokenizer = read_gguf_tokenizer(*parts_->gguf);
  if (!tokenizer.ok()) return Error{parts_->name + ": " + tokenizer.error().message};
  return tokenizer;
}

uint64_t Checkpoint::content_hash() const {
  uint64_t hash = 0;
  if (parts_->gguf) {
    for (const GgufEntry& entry : parts_->gguf->metadata()) {
      if (entry.key.starts_with("split.")) continue;
      hash = hash_text(entry.key, hash);
      hash = hash_value(static_cast<uint32_t>(entry.value.type), hash);
      hash = hash64(entry.value.bytes, hash);
    }
  } else {
    hash = parts_->config_hash;
  }
  for (const uint32_t i : parts_->by_name) {
    const TensorView& view = parts_->tensors[i];
    hash = hash_text(view.name, hash);
    hash = hash_value(static_cast<uint32_t>(view.dtype), hash);
    hash = hash64(std::as_bytes(std::span(view.shape)), hash);
    hash = hash64(view.bytes, hash);
  }
  return hash;
}

}  // namespace sluice::weights
