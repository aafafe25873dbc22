// What the scheduler needs of a runtime: steps, logits and sizes. RuntimeRunner is the real one; tests bring one whose state is an exact function of the
// tokens read, so that a wrong state shows in the first token.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "engine/state_store.h"
#include "runtime/runtime.h"

namespace sluice::engine {

struct StepSizes {
  uint64_t rows_max = 0;
  uint64_t logit_rows_max = 0;
  uint64_t vocabulary = 0;
  uint64_t page_bytes = 0;   // 0: no attention
  uint64_t state_bytes = 0;  // 0: no recurrence
  int64_t last_norm = -1;    // index by which an observer sees the last norm's rows (those that want logits); -1: it does not
  uint64_t flops_per_token = 1;
  uint64_t attention_flops = 0;  // of one token, for each token before it
};

class StepRunner {
 public:
  virtual ~StepRunner() = default;
  const StepSizes& sizes() const { return sizes_; }
  virtual Status step(std::span<const runtime::StepRow> rows, const runtime::Observer* observer) = 0;
  virtual std::span<const float> logits(size_t i) const = 0;

 protected:
  explicit StepRunner(const StepSizes& sizes) : sizes_(sizes) {}

 private:
  StepSizes sizes_;
};

StepSizes step_sizes(const runtime::Runtime& runtime);
// A store for such a model: `beyond` bytes for what it keeps, and room for `running_pages` pages that sequences in use take.
StoreOptions store_options(const StepSizes& sizes, uint64_t running_pages, uint64_t beyond);

class RuntimeRunner final : public StepRunner {
 public:
  explicit RuntimeRunner(runtime::Runtime& runtime);
  Status step(std::span<const runtime::StepRow> rows, const runtime::Observer* observer) override { return runtime_.step(rows, observer); }
  std::span<const float> logits(size_t i) const override { return runtime_.logits(i); }

 private:
  runtime::Runtime& runtime_;
};

}  // namespace sluice::engine
