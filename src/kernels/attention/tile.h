// The scratch of the vector forms of attention, in floats from its start, each part 64-byte aligned. Private to attention's files.
#pragma once

#include <cstddef>

#include "kernels/attention/attention.h"

namespace sluice::kernels {

// Pairs (row, query head) that walk the pages together: queries, scores and outputs of 24 columns of 128 dimensions are 30 KiB.
inline constexpr size_t kAttentionColumns = 24;

struct AttentionScratch {
  size_t queries, scores, out, per_column, total;
};
AttentionScratch attention_scratch(const KvShape& shape);

}  // namespace sluice::kernels
