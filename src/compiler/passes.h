// The passes. Each takes a verified program and leaves a verified one; compile.h runs them in order and can stop after any of them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/attention/attention.h"
#include "program/program.h"
#include "program/verify.h"
#include "weights/checkpoint.h"

namespace sluice::compiler {

// Weights resolved: every source exists with the right shape and one weight type; dtype set. Every tensor of the checkpoint is used by the program.
Status lower(program::Program& program, const weights::Checkpoint& checkpoint);

// add(a, matmul(x)) and add(a, moe_combine(y)) become one op that adds into a's buffer, where a is not read again.
void fuse(program::Program& program);

// Each matmul gets its activations in the format of its weight's type; a value is quantised once.
void select(program::Program& program);

// Drops observe ops but the last norm's, which embeddings are made of (programs that only run).
void strip_observers(program::Program& program);

// Bytes of a weight in the package, a multiple of 64.
uint64_t packed_weight_bytes(const program::Value& weight);
// Offsets of the weights in the package's data, in order; returns its size.
uint64_t place_weights(program::Program& program);
// Packs every weight in order of its offset and hands the bytes on, at most `kPackChunkBytes` or one strip at a time.
using PackSink = std::function<Status(std::span<const std::byte>)>;
Status pack_weights(const program::Program& program, const weights::Checkpoint& checkpoint, const PackSink& sink);

struct PlanOptions {
  uint64_t rows_max = 0;
  uint64_t logit_rows_max = 0;
  kernels::KvType kv_type = kernels::KvType::kF16;
};
// Offsets of activations (in one arena), states and KV; pure bookkeeping. Weights must be placed.
program::PlanSizes plan(program::Program& program, const PlanOptions& options);

}  // namespace sluice::compiler
