// Bound ops: each op record with its kernel, pointers and strides resolved, and run(step, thread), which computes this thread's share. How work is cut:
// by output strips (matmul), by channels (convolution, scan), by row and KV head (attention), by rows (the rest). Cuts are functions of sizes and thread
// count alone, but for matmul, where a thread that is done takes strips of the others' (PartTaken). No result depends on them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <variant>

#include "kernels/attention/attention.h"
#include "kernels/conv1d/conv1d.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/glu/glu.h"
#include "kernels/matmul/matmul.h"
#include "kernels/moe/moe.h"
#include "kernels/quantize/quantize.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/ssm_scan/ssm_scan.h"
#include "runtime/runtime.h"

namespace sluice::runtime {

// What one step is about. Arrays hold rows_max (or logit_rows_max) entries, allocated at load.
struct Step {
  std::span<const int32_t> tokens;
  std::span<const int32_t> positions;
  std::span<const kernels::KvRow> kv_rows;
  std::span<const kernels::StateSegment> segments;  // state: the sequence's whole state; ops add their offset
  std::span<const int32_t> logit_rows;              // row of each row that wants logits
  const Observer* observer = nullptr;
  uint32_t threads = 1;
  uint32_t number = 0;  // of the runtime's steps, from 1

  size_t rows() const { return tokens.size(); }
};

// The slots of one expert in the lists below.
struct ExpertSlots {
  int32_t expert, begin, end;
};

// Per thread: room for what kernels need beside their operands.
struct Scratch {
  std::span<float> floats;                        // attention, top-k
  std::span<kernels::StateSegment> segments;      // [rows_max]
  std::span<int32_t> slot_rows;                   // [rows_max * experts chosen], slots in order of expert
  std::span<int32_t> slot_inputs;                 // the activation row of each
  std::span<int32_t> expert_begin;                // [experts + 1]
  std::span<ExpertSlots> experts;                 // [experts], those that have slots first
};

// An activation in the arena.
struct Buffer {
  std::byte* data = nullptr;
  size_t stride = 0;  // bytes
  size_t width = 0;
  program::RowSpace rows = program::RowSpace::kStep;
  uint32_t slots = 1;

  float* floats() const { return reinterpret_cast<float*>(data); }
  int32_t* integers() const { return reinterpret_cast<int32_t*>(data); }
  size_t stride_floats() const { return stride / sizeof(float); }
  size_t padded() const { return (width + 15) / 16 * 16; }
  size_t count(const Step& step) const {
    switch (rows) {
      case program::RowSpace::kStep: return step.rows();
      case program::RowSpace::kLogits: return step.logit_rows.size();
      case program::RowSpace::kSlots: return step.rows() * slots;
    }
    return 0;
  }
};

struct EmbedOp {
  DType dtype;
  const uint8_t* table;
  uint64_t n, k;
  float scale;
  Buffer out;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct RmsNormOp {
  kernels::RmsNormFn kernel;
  kernels::RmsNormArgs args;
  Buffer x;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct QuantizeOp {
  kernels::QuantizeFn kernel;
  kernels::QuantizeArgs args;
  Buffer x;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
// How many units of a thread's part of an op are taken: (step number << 32) + units. A count of another step is worth 0, so nobody has to reset it.
class alignas(64) PartTaken {
 public:
  uint32_t take(uint32_t step) {
    uint64_t seen = value_.load(std::memory_order_relaxed), next = 0;
    do {
      next = (seen >> 32 == step ? seen : uint64_t{step} << 32) + 1;
    } while (!value_.compare_exchange_weak(seen, next, std::memory_order_relaxed));
    return static_cast<uint32_t>(next) - 1;
  }

 private:
  std::atomic<uint64_t> value_{0};
};
using Parts = std::unique_ptr<PartTaken[]>;  // [threads]

struct MatmulOp {
  kernels::MatmulFn kernel;
  kernels::MatmulArgs args;
  Buffer x;
  size_t strips;
  Parts parts;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct RopeTableOp {
  kernels::RopeTableFn kernel;
  kernels::RopeTableArgs args;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct RopeOp {
  kernels::RopeFn kernel;
  kernels::RopeArgs args;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct KvWriteOp {
  kernels::KvWriteFn kernel;
  kernels::KvWriteArgs args;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct AttentionOp {
  kernels::AttentionFn kernel;
  kernels::AttentionArgs args;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct Conv1dOp {
  kernels::Conv1dFn kernel;
  kernels::Conv1dArgs args;
  size_t state_floats;  // offset into the sequence's state
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct SsmScanOp {
  kernels::SsmScanFn kernel;
  kernels::SsmScanArgs args;
  size_t state_floats;
  size_t channels;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct GluOp {
  kernels::GluFn kernel;
  kernels::GluArgs args;
  Buffer gate;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct ElementwiseOp {
  kernels::ElementwiseFn kernel;
  kernels::ElementwiseArgs args;
  Buffer a;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct MoeTopkOp {
  kernels::MoeTopkFn kernel;
  kernels::MoeTopkArgs args;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct MoeMatmulOp {
  kernels::MatmulFn kernel;
  kernels::MatmulArgs args;
  Buffer ids;
  uint64_t experts;
  uint64_t expert_bytes;
  bool x_is_slots;
  size_t strips;
  Parts parts;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;

 private:
  std::span<const ExpertSlots> sort_slots(const Step& step, Scratch& scratch) const;
};
struct MoeCombineOp {
  kernels::MoeCombineFn kernel;
  kernels::MoeCombineArgs args;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct SelectRowsOp {
  Buffer x, out;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};
struct ObserveOp {
  Buffer x;
  int64_t index;
  void run(const Step& step, Scratch& scratch, uint32_t thread) const;
};

struct BoundOp {
  std::variant<EmbedOp, RmsNormOp, QuantizeOp, MatmulOp, RopeTableOp, RopeOp, KvWriteOp, AttentionOp, Conv1dOp, SsmScanOp, GluOp, ElementwiseOp, MoeTopkOp,
               MoeMatmulOp, MoeCombineOp, SelectRowsOp, ObserveOp>
      op;
  bool barrier_before = true;  // barriers.h
};

// Work [0, n) cut into `threads` parts of whole units; part `thread`.
struct Range {
  size_t begin, end;
};
constexpr Range share(size_t n, uint32_t thread, uint32_t threads) { return {n * thread / threads, n * (thread + 1) / threads}; }

}  // namespace sluice::runtime
