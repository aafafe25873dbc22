// How many prefill rows a step may take while others decode: learned from what steps took, so that a step with prefill takes less than twice as long as one
// without. Contract: durations come from the caller's clock. Next: scheduler.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace sluice::engine {

class StepPace {
 public:
  // `limit`: 0: learned; else always that.
  StepPace(uint32_t sequences_max, uint64_t rows_max, uint64_t limit) : decode_(sequences_max + 1), rows_max_(rows_max), limit_(limit) {}

  // Prefill rows beside this many decoding sequences; 0: this step only decodes, so that its duration is known.
  uint64_t prefill_rows(uint32_t decoding) {
    if (decoding == 0) return rows_max_;
    if (limit_ > 0) return std::min(limit_, rows_max_);
    const Decode& d = decode_[decoding];
    if (d.us == 0 || d.mixed_since >= kStepsBetweenLooks) return 0;
    if (row_us_ == 0) return std::min<uint64_t>(kRowsUnknown, rows_max_);
    return static_cast<uint64_t>(std::clamp(kShare * d.us / row_us_, 1.0, static_cast<double>(rows_max_)));
  }

  void saw(uint32_t decoding, uint64_t decode_rows, uint64_t prefill_rows, uint64_t us) {
    const double took = std::max(static_cast<double>(us), 0.5);
    if (prefill_rows == 0 && decoding > 0) {
      Decode& d = decode_[decoding];
      d.us = d.us == 0 ? took : mean(d.us, took);
      d.mixed_since = 0;
      if (decode_rows == decoding) decode_step_us_ = decode_step_us_ == 0 ? took : mean(decode_step_us_, took);
    } else if (prefill_rows > 0) {
      const double alone = decoding > 0 ? decode_[decoding].us : 0;
      const double row = std::max(took - alone, took / 16) / static_cast<double>(prefill_rows);
      row_us_ = row_us_ == 0 ? row : mean(row_us_, row);
      if (decoding > 0) ++decode_[decoding].mixed_since;
    }
  }

  double decode_step_ms() const { return decode_step_us_ / 1000; }
  double prefill_tokens_per_s() const { return row_us_ == 0 ? 0 : 1e6 / row_us_; }

 private:
  static constexpr double kShare = 0.75;           // of a decode step's time, for prefill beside it
  static constexpr uint64_t kRowsUnknown = 8;      // before any prefill was timed
  static constexpr uint32_t kStepsBetweenLooks = 64;
  struct Decode {
    double us = 0;
    uint32_t mixed_since = 0;
  };
  static double mean(double old, double now) { return old + (now - old) / 8; }

  std::vector<Decode> decode_;  // by how many sequences decode
  uint64_t rows_max_, limit_;
  double row_us_ = 0, decode_step_us_ = 0;
};

}  // namespace sluice::engine
