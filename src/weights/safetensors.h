// safetensors: u64 header length, JSON header, data. The tensors must tile the data exactly; reference: the format's own README and section
// 15 of its checks. The index of a sharded checkpoint (model.safetensors.index.json) is read here too; the folder is checkpoint.cc's work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "weights/tensor_view.h"

namespace sluice::weights {

struct Safetensors {
  std::vector<TensorView> tensors;              // in the order of their data
  std::map<std::string, std::string> metadata;  // "__metadata__"
  uint64_t data_offset = 0;                     // = bytes of the header
};

// `file` must outlive the views.
Result<Safetensors> parse_safetensors(std::span<const std::byte> file);

// "BF16" for kBF16; empty for types that safetensors does not have.
std::string_view safetensors_type(DType dtype);

struct ShardIndex {
  struct Entry {
    std::string tensor;
    uint32_t file;  // index into files
  };
  std::vector<std::string> files;  // plain names, each once, sorted
  std::vector<Entry> entries;      // sorted by tensor
};

Result<ShardIndex> parse_shard_index(std::string_view text);

}  // namespace sluice::weights
