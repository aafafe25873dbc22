#include "compiler/compile.h"

#include <fmt/format.h>

#include <cstring>
#include <vector>

#include "models/family.h"
#include "platform/file.h"
#include "platform/memory.h"
#include "program/package.h"
#include "program/text.h"

namespace sluice::compiler {

using program::Program;
using weights::Checkpoint;

models::Config config_of(const Checkpoint& checkpoint) {
  const bool gguf = checkpoint.format() == weights::Format::kGguf;
  nlohmann::json fields = checkpoint.config();
  // The embedding's rows are the vocabulary: files may leave the key out or pad the table.
  const weights::TensorView* table = gguf ? checkpoint.find("token_embd.weight") : nullptr;
  if (table != nullptr && table->shape.size() == 2 && fields.contains("general.architecture") && fields["general.architecture"].is_string()) {
    fields[fields["general.architecture"].get<std::string>() + ".vocab_size"] = table->shape[0];
  }
  std::function<bool(std::string_view)> has;
  if (checkpoint.has_tensors()) has = [&checkpoint](std::string_view name) { return checkpoint.find(name) != nullptr; };
  return models::Config(gguf ? models::Format::kGguf : models::Format::kHuggingFace, std::move(fields), std::move(has));
}

Result<Program> compile_program(const Checkpoint& checkpoint, const CompileOptions& options, std::string_view stop_after) {
  SLUICE_TRY(Program program, models::build(config_of(checkpoint)));
  SLUICE_TRY_VOID(lower(program, checkpoint));
  if (!options.observers) strip_observers(program);
  if (stop_after == "lower") return program;
  fuse(program);
  SLUICE_TRY_VOID(program::verify(program));
  if (stop_after == "fuse") return program;
  select(program);
  SLUICE_TRY_VOID(program::verify(program));
  if (stop_after == "select") return program;
  place_weights(program);
  return program;
}

namespace {

// Counts what was packed, for the progress bar and against what was placed.
PackSink counting(uint64_t total, uint64_t& done, const CompileOptions& options, const PackSink& sink) {
  return [total, &done, &options, &sink](std::span<const std::byte> bytes) -> Status {
    SLUICE_CHECK(done + bytes.size() <= total);
    SLUICE_TRY_VOID(sink(bytes));
    done += bytes.size();
    if (options.progress) options.progress(done, total);
    return {};
  };
}

uint64_t weight_bytes(const Program& program) {
  uint64_t bytes = 0;
  for (const program::Value& value : program.values) {
    if (value.kind == program::ValueKind::kWeight) bytes = std::max(bytes, value.offset + value.bytes);
  }
  return bytes;
}

// Appends in blocks that end at multiples of 2 MiB of the file, however small the pieces are. The page cache keeps what
// one call wrote in folios as large as the call, so the mapped package gets huge pages: written strip by strip 45 % of
// it had them, in blocks 99.9 % (Linux 6.18, ext4); the smaller the pages, the more a decode step waits for their
// translation (83 to 92 against 92 to 97 % of the read bandwidth).
class BlockWriter {
 public:
  explicit BlockWriter(platform::AtomicFile& file) : file_(file) {}

  Status write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const uint64_t room = kBlockBytes - (file_.size() + block_.size()) % kBlockBytes;
      const size_t count = std::min<uint64_t>(room, bytes.size());
      block_.insert(block_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
      bytes = bytes.subspan(count);
      if (count == room) SLUICE_TRY_VOID(flush());
    }
    return {};
  }

  Status flush() {
    SLUICE_TRY_VOID(file_.write(std::span<const std::byte>(block_)));
    block_.clear();
    return {};
  }

 private:
  static constexpr uint64_t kBlockBytes = 2u << 20;
  platform::AtomicFile& file_;
  std::vector<std::byte> block_;
};

}  // namespace

Result<Model> compile_in_memory(const Checkpoint& checkpoint, std::string tokenizer, const CompileOptions& options) {
  Model model;
  SLUICE_TRY(model.program, compile_program(checkpoint, options, ""));
  const uint64_t total = weight_bytes(model.program);
  auto memory = std::make_shared<platform::AnonymousMapping>();
  SLUICE_TRY(*memory, platform::AnonymousMapping::map(total, platform::AnonymousMapping::Pages::kHuge));
  uint64_t done = 0;
  const PackSink copy = [&](std::span<const std::byte> bytes) -> Status {
    std::memcpy(memory->bytes().data() + done, bytes.data(), bytes.size());
    return {};
  };
  SLUICE_TRY_VOID(pack_weights(model.program, checkpoint, counting(total, done, options, copy)));
  SLUICE_CHECK(done == total);
  model.tokenizer = std::move(tokenizer);
  model.weights = memory->bytes();
  model.owner = std::move(memory);
  model.fingerprint = checkpoint.fingerprint();
  return model;
}

Status compile_to_file(const Checkpoint& checkpoint, std::string_view tokenizer, const std::filesystem::path& path, const CompileOptions& options) {
  SLUICE_TRY(const Program program, compile_program(checkpoint, options, ""));
  const std::string text = program::print(program);
  program::PackageHeader header;
  header.fingerprint = checkpoint.fingerprint();
  header.program_offset = program::kPackageHeaderBytes;
  header.program_bytes = text.size();
  header.tokenizer_offset = header.program_offset + text.size();
  header.tokenizer_bytes = tokenizer.size();
  header.weights_offset = program::round_up(header.tokenizer_offset + tokenizer.size(), program::kPackageAlignment);
  header.weights_bytes = weight_bytes(program);
  header.checksum = program::checksum_of(std::as_bytes(std::span(tokenizer)), program::checksum_of(std::as_bytes(std::span(text))));
  std::byte head[program::kPackageHeaderBytes];
  program::write_header(header, head);

  SLUICE_TRY(platform::AtomicFile file, platform::AtomicFile::create(path));
  SLUICE_TRY_VOID(file.reserve(header.weights_offset + header.weights_bytes));
  SLUICE_TRY_VOID(file.write(std::span<const std::byte>(head)));
  SLUICE_TRY_VOID(file.write(text));
  SLUICE_TRY_VOID(file.write(tokenizer));
  SLUICE_TRY_VOID(file.write(std::string(header.weights_offset - file.size(), '\0')));
  uint64_t done = 0;
  BlockWriter writer(file);
  const PackSink append = [&](std::span<const std::byte> bytes) { return writer.write(bytes); };
  SLUICE_TRY_VOID(pack_weights(program, checkpoint, counting(header.weights_bytes, done, options, append)));
  SLUICE_CHECK(done == header.weights_bytes);
  SLUICE_TRY_VOID(writer.flush());
  return file.commit();
}

Result<Model> open_package(const std::filesystem::path& path) {
  auto file = std::make_shared<platform::MappedFile>();
  SLUICE_TRY(*file, platform::MappedFile::open(path));
  SLUICE_TRY(program::PackageView view, program::parse_package(file->bytes()));
  Model model;
  model.program = std::move(view.program);
  model.tokenizer = std::string(view.tokenizer);
  model.weights = view.weights;
  model.fingerprint = view.header.fingerprint;
  file->advise_huge_pages();
  file->advise_will_need();
  model.owner = std::move(file);
  return model;
}

}  // namespace sluice::compiler
