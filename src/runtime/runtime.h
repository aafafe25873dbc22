// The runtime: a program bound to one arena, one set of kernels and one thread pool. A step takes rows (token, position, sequence) and leaves the logits
// of the rows that want them. Which sequences exist and where their memory lies is the caller's business (engine/): a row points at its sequence.
// After create() a step allocates nothing, locks nothing and calls no system function but the futex of a thread that waited long.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/isa.h"
#include "base/result.h"
#include "kernels/attention/attention.h"
#include "platform/memory.h"
#include "platform/thread_pool.h"
#include "program/program.h"
#include "program/verify.h"
#include "runtime/profile.h"

namespace sluice::runtime {

struct BoundOp;

// One conversation's memory: its recurrent state (state_bytes, 64-byte aligned) and its KV pages (page i holds positions 64 i to 64 i + 63; page_bytes
// each, 64-byte aligned). Pages up to a row's position must be there before the step.
struct Sequence {
  std::byte* state = nullptr;
  uint8_t* const* pages = nullptr;
};

struct StepRow {
  int32_t token = 0;
  int32_t position = 0;  // 0-based, in its sequence
  const Sequence* sequence = nullptr;
  bool wants_logits = false;
};

// Sees values marked with `observe` (programs compiled with observers): index 0 is the input of the first block, i the output of block i, layers + 1
// the last norm. Rows are `stride` floats apart.
struct Observer {
  void (*see)(void* context, int64_t index, const float* rows, size_t row_count, size_t width, size_t stride) = nullptr;
  void* context = nullptr;
};

struct Options {
  uint32_t threads = 1;
  Isa isa = Isa::kBaseline;
  kernels::KvType kv_type = kernels::KvType::kF16;
};

class Runtime {
 public:
  // `program` is planned for `sizes`; `weights` are its packed weights (64-byte aligned), kept alive by `owner`.
  static Result<std::unique_ptr<Runtime>> create(program::Program program, const program::PlanSizes& sizes, std::span<const std::byte> weights,
                                                 std::shared_ptr<const void> owner, const Options& options);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Rows of one sequence stand together, in order of position. At most rows_max rows, of which logit_rows_max want logits. A token outside the
  // vocabulary is an error and nothing is computed.
  Status step(std::span<const StepRow> rows, const Observer* observer = nullptr);

  // From the next step on, times of each op are added to `profile` (made for this program's ops and threads); null ends it.
  void set_profile(Profile* profile);

  // Logits of the i-th row that wanted them, [vocabulary]; valid until the next step.
  std::span<const float> logits(size_t i) const;

  const program::Program& program() const { return program_; }
  const program::PlanSizes& sizes() const { return sizes_; }
  std::span<const std::byte> weights() const { return weights_; }
  const Options& options() const { return options_; }

 private:
  Runtime(program::Program program, const program::PlanSizes& sizes, std::span<const std::byte> weights, std::shared_ptr<const void> owner,
          const Options& options);
  Status bind();
  Status prepare(std::span<const StepRow> rows);
  void walk(uint32_t thread);
  void walk_profiled(uint32_t thread);

  struct Impl;
  program::Program program_;
  program::PlanSizes sizes_;
  std::span<const std::byte> weights_;
  std::shared_ptr<const void> owner_;
  Options options_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::runtime
