#include "cli/zstd_lines.h"

#include <fmt/format.h>
#include <zstd.h>

#include <memory>
#include <string>
#include <vector>

#include "platform/file.h"

namespace sluice::cli {
namespace {

// The largest published trace has lines of 150 KB and 16 MB in all.
constexpr uint64_t kTraceBytesMax = 4ull << 30;
constexpr uint64_t kTraceLineBytesMax = 64ull << 20;
constexpr int kTraceWindowLogMax = 27;  // 128 MiB

}  // namespace

Status for_lines(const std::filesystem::path& path, const std::function<Status(uint64_t, std::string_view)>& see) {
  SLUICE_TRY(const platform::MappedFile file, platform::MappedFile::open(path));
  const std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream(ZSTD_createDStream(), ZSTD_freeDStream);
  if (!stream) return Error{"no memory to decompress"};
  ZSTD_DCtx_setParameter(stream.get(), ZSTD_d_windowLogMax, kTraceWindowLogMax);
  ZSTD_inBuffer in{file.bytes().data(), file.bytes().size(), 0};
  std::vector<char> chunk(ZSTD_DStreamOutSize());
  std::string line;
  uint64_t number = 0, total = 0;
  size_t left = 1;
  while (in.pos < in.size) {
    ZSTD_outBuffer out{chunk.data(), chunk.size(), 0};
    left = ZSTD_decompressStream(stream.get(), &out, &in);
    if (ZSTD_isError(left)) return Error{fmt::format("{}: {}", path.string(), ZSTD_getErrorName(left))};
    total += out.pos;
    if (total > kTraceBytesMax) return Error{fmt::format("{}: more than {} bytes when decompressed", path.string(), kTraceBytesMax)};
    for (size_t i = 0; i < out.pos; ++i) {
      if (chunk[i] != '\n') {
        line.push_back(chunk[i]);
        continue;
      }
      SLUICE_TRY_VOID(see(number++, line));
      line.clear();
    }
    if (line.size() > kTraceLineBytesMax) return Error{fmt::format("{}:{}: a line of more than {} bytes", path.string(), number + 1, kTraceLineBytesMax)};
  }
  if (left != 0) return Error{fmt::format("{}: cut off", path.string())};
  if (!line.empty()) SLUICE_TRY_VOID(see(number, line));
  return {};
}

}  // namespace sluice::cli
