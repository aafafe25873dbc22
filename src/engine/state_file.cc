#include "engine/state_file.h"

#include <fmt/format.h>

#include <cstring>

#include "platform/file.h"
#include "program/package.h"

namespace sluice::engine {
namespace {

constexpr uint64_t kMagic = 0x3145544154534C53;  // "SLSTATE1"

struct Header {
  uint64_t magic = kMagic;
  uint64_t model = 0;
  uint64_t kv_type = 0;
  uint64_t tokens = 0;
  uint64_t state_bytes = 0;
  uint64_t page_bytes = 0;
  uint64_t pages = 0;
  uint64_t checksum = 0;  // of everything after the header
};

template <class T>
std::span<const std::byte> bytes_of(std::span<const T> values) {
  return std::as_bytes(values);
}

Header header_of(const Session& session, uint64_t model, uint64_t kv_type, uint64_t page_bytes) {
  Header header;
  header.model = model;
  header.kv_type = kv_type;
  header.tokens = session.tokens().size();
  header.state_bytes = session.state_bytes().size();
  header.page_bytes = page_bytes;
  header.pages = session.pages_used();
  return header;
}

}  // namespace

Status save_state(const Session& session, uint64_t model, const std::filesystem::path& path) {
  auto& runtime = const_cast<Session&>(session).runtime();
  Header header = header_of(session, model, static_cast<uint64_t>(runtime.options().kv_type), runtime.sizes().page_bytes);
  const auto tokens = bytes_of(std::span<const int32_t>(session.tokens()));
  header.checksum = program::checksum_of(session.state_bytes(), program::checksum_of(tokens));
  for (size_t i = 0; i < header.pages; ++i) header.checksum = program::checksum_of(session.page(i), header.checksum);
  SLUICE_TRY(platform::AtomicFile file, platform::AtomicFile::create(path));
  SLUICE_TRY_VOID(file.write(std::as_bytes(std::span(&header, 1))));
  SLUICE_TRY_VOID(file.write(tokens));
  SLUICE_TRY_VOID(file.write(session.state_bytes()));
  for (size_t i = 0; i < header.pages; ++i) SLUICE_TRY_VOID(file.write(session.page(i)));
  return file.commit();
}

Status restore_state(Session& session, uint64_t model, const std::filesystem::path& path) {
  SLUICE_TRY(const platform::MappedFile file, platform::MappedFile::open(path));
  const auto bytes = file.bytes();
  Header header;
  if (bytes.size() < sizeof header) return Error{fmt::format("{}: {} bytes are too few for a saved state", path.string(), bytes.size())};
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kMagic) return Error{fmt::format("{}: not a saved state", path.string())};
  if (header.model != model) {
    return Error{fmt::format("{}: saved by another model (fingerprint {:016x}, this one {:016x})", path.string(), header.model, model)};
  }
  const auto& runtime = session.runtime();
  if (header.kv_type != static_cast<uint64_t>(runtime.options().kv_type)) return Error{fmt::format("{}: saved with another --kv type", path.string())};
  if (header.tokens > session.context()) {
    return Error{fmt::format("{}: holds {} tokens, the context {} (--ctx)", path.string(), header.tokens, session.context())};
  }
  const uint64_t page_bytes = runtime.sizes().page_bytes;
  const uint64_t pages = page_bytes == 0 ? 0 : (header.tokens + kernels::kPageTokens - 1) / kernels::kPageTokens;
  const uint64_t expected = sizeof header + header.tokens * 4 + header.state_bytes + pages * page_bytes;
  if (header.state_bytes != session.state_bytes().size() || header.page_bytes != page_bytes || header.pages != pages || bytes.size() != expected) {
    return Error{fmt::format("{}: {} bytes, a state of this model with {} tokens has {}", path.string(), bytes.size(), header.tokens, expected)};
  }
  const auto body = bytes.subspan(sizeof header);
  if (program::checksum_of(body) != header.checksum) return Error{fmt::format("{}: checksum does not match; the file is damaged", path.string())};
  std::vector<int32_t> tokens(header.tokens);
  std::memcpy(tokens.data(), body.data(), header.tokens * 4);
  session.adopt(std::move(tokens));
  std::memcpy(session.state_bytes().data(), body.data() + header.tokens * 4, header.state_bytes);
  for (size_t i = 0; i < pages; ++i) std::memcpy(session.page(i).data(), body.data() + header.tokens * 4 + header.state_bytes + i * page_bytes, page_bytes);
  return {};
}

}  // namespace sluice::engine
