// A model as it was published, behind one interface: a GGUF file (split or not), a Hugging Face folder, or a lone config.json. The compiler
// sees only this. Everything in it is untrusted and checked on open: sizes, names, offsets; nothing executable is ever opened (no pickle,
// no auto_map code; docs/security.md). What a model family demands of its fields and shapes is checked in models/ and compiler/.
//
//   SLUICE_TRY(const Checkpoint checkpoint, Checkpoint::open("jamba.gguf"));
//   const TensorView* embedding = checkpoint.find("token_embd.weight");  // GGUF's names or Hugging Face's, as format() says
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "weights/gguf.h"
#include "weights/tensor_view.h"

namespace sluice::weights {

enum class Format : uint8_t { kGguf, kHuggingFace };

// Files beside config.json; an empty path means that the folder has none. They are not opened here.
struct ModelFiles {
  std::filesystem::path config;             // config.json
  std::filesystem::path generation_config;  // generation_config.json
  std::filesystem::path tokenizer;          // tokenizer.json
  std::filesystem::path tokenizer_config;   // tokenizer_config.json
  std::filesystem::path tokenizer_model;    // tokenizer.model (SentencePiece)
  std::filesystem::path chat_template;      // chat_template.jinja
};

// tokenizer.ggml.*: views into the file, with the types and lengths already checked against each other. The lengths of scores and types
// are 0 (absent) or that of tokens.
struct GgufTokenizer {
  std::string_view model;  // "llama", "gpt2", ...
  std::string_view pre;    // tokenizer.ggml.pre, may be empty
  std::vector<std::string_view> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;
  std::vector<std::string_view> merges;
  std::string_view chat_template;                         // tokenizer.chat_template, may be empty
  std::span<const std::byte> precompiled_charsmap;        // may be empty
};

class Checkpoint {
 public:
  // A .gguf file (of a split one, its first part), a folder with config.json and safetensors, or a config.json alone (no tensors).
  static Result<Checkpoint> open(const std::filesystem::path& path);
  // A GGUF file that is already in memory (embedded in the program); `bytes` must outlive the checkpoint. `name` stands in messages.
  static Result<Checkpoint> from_memory(std::span<const std::byte> bytes, std::string_view name);

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  Format format() const;
  const std::string& name() const;  // what was opened, for messages

  // Hugging Face: config.json as it is, with non-finite numbers as floats. GGUF: the metadata as one flat object key -> value, without the
  // tokenizer.ggml.* arrays, arrays of more than limits::kMetadataArrayMax elements and strings of more than
  // limits::kMetadataTextBytesMax bytes (gguf() has them); text that is not UTF-8 has U+FFFD in place of the bad bytes.
  const nlohmann::json& config() const;

  // False for a lone config.json: there is nothing but config().
  bool has_tensors() const { return !tensors().empty(); }
  std::span<const TensorView> tensors() const;
  const TensorView* find(std::string_view name) const;

  // The bytes of this tensor have been used: its pages leave the resident size, and come back from the file when touched again. So a model
  // is packed without ever being in memory as a whole. Does nothing for a checkpoint in memory.
  void release(const TensorView& view) const;

  // The (first) GGUF file's own metadata; null for other formats.
  const Gguf* gguf() const;
  // Fails for other formats, and for a file without a vocabulary.
  Result<GgufTokenizer> gguf_tokenizer() const;
  // All empty for GGUF.
  const ModelFiles& files() const;

  // Changes when the model may have changed: sizes and times of all its files (tokenizer and template too), the whole header and samples of
  // the data. Cheap: it reads 64 KiB besides the header.
  uint64_t fingerprint() const;
  // Of every byte of the config or metadata and of all tensors: independent of file names, times and shard borders within one format.
  // Reads the whole model.
  uint64_t content_hash() const;

 private:
  struct Parts;
  explicit Checkpoint(std::unique_ptr<Parts> parts);
  static Result<Checkpoint> open_gguf(const std::filesystem::path& path);
  static Result<Checkpoint> open_folder(const std::filesystem::path& folder);
  static Result<Checkpoint> open_config(const std::filesystem::path& path);

  std::unique_ptr<Parts> parts_;
};

}  // namespace sluice::weights
