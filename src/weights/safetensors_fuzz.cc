// Any bytes as a safetensors file, as its header alone (behind a right length), as a shard index and as a config.json.
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "base/check.h"
#include "weights/json.h"
#include "weights/safetensors.h"

using namespace sluice::weights;

namespace {

void check_file(std::span<const std::byte> file) {
  const auto parsed = parse_safetensors(file);
  if (!parsed.ok()) {
    SLUICE_CHECK(!parsed.error().message.empty());
    return;
  }
  const std::byte* at = file.data() + parsed->data_offset;
  for (const TensorView& view : parsed->tensors) {
    SLUICE_CHECK(view.bytes.data() == at);
    at += view.bytes.size();
  }
  SLUICE_CHECK(at == file.data() + file.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0: check_file(std::as_bytes(std::span(text.data(), text.size()))); break;
    case 1: {  // first byte after the choice: bytes of data behind the header
      const size_t tail = text.empty() ? 0 : static_cast<unsigned char>(text[0]) % 64;
      const uint64_t length = text.size() > tail ? text.size() - tail : 0;
      std::string file(sizeof(length), '\0');
      std::memcpy(file.data(), &length, sizeof(length));
      file += text;
      check_file(std::as_bytes(std::span(file.data(), file.size())));
      break;
    }
    case 2: (void)parse_shard_index(text).ok(); break;
    default: {
      const auto config = parse_config(text);
      if (config.ok()) (void)config->dump();
    }
  }
  return 0;
}
