// Any bytes as a GGUF file: they load or are refused; what loads lies inside the file and is no larger than it.
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "weights/checkpoint.h"

using sluice::weights::Checkpoint;
using sluice::weights::TensorView;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  const auto checkpoint = Checkpoint::from_memory(file, "fuzz");
  if (!checkpoint.ok()) {
    SLUICE_CHECK(!checkpoint.error().message.empty());
    return 0;
  }
  uint64_t total = 0;
  for (const TensorView& view : checkpoint->tensors()) {
    SLUICE_CHECK(view.bytes.data() >= file.data() && view.bytes.data() + view.bytes.size() <= file.data() + file.size());
    SLUICE_CHECK(checkpoint->find(view.name) == &view);
    total += view.bytes.size();
  }
  SLUICE_CHECK(total <= size);
  (void)checkpoint->config().dump();  // throws, and so stops the fuzzer, on text that is not UTF-8
  const auto tokenizer = checkpoint->gguf_tokenizer();
  (void)tokenizer.ok();
  (void)checkpoint->content_hash();
  return 0;
}
