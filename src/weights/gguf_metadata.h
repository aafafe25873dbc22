// What checkpoint.cc makes of one GGUF file: its metadata as JSON, its tokenizer, its tensors as TensorViews, the names of its parts.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "weights/checkpoint.h"
#include "weights/gguf.h"

namespace sluice::weights {

Result<nlohmann::json> metadata_json(const Gguf& gguf);
Result<GgufTokenizer> read_gguf_tokenizer(const Gguf& gguf);
void append_views(const Gguf& gguf, std::vector<TensorView>& views);

// split.no and split.count; a file without them is part 0 of 1.
struct SplitPosition {
  uint64_t number = 0;
  uint64_t count = 1;
};
Result<SplitPosition> split_position(const Gguf& gguf);
// "x-00001-of-00003.gguf", part 2 -> "x-00003-of-00003.gguf" (parts are numbered from 0).
Result<std::filesystem::path> split_path(const std::filesystem::path& first, uint64_t part, uint64_t count);

}  // namespace sluice::weights
