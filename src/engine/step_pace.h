// What steps cost, learned from what they took: how many prefill rows a step may take while others decode (so that it takes less than twice as long as one
// without), and whether drafting tokens pays. Contract: durations come from the caller's clock. Next: scheduler.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace sluice::engine {

class StepPace {
 public:
  // `limit`: prefill rows beside decoding sequences; 0: learned. `copy_bytes`: of a state, which drafting copies.
  StepPace(uint32_t sequences_max, uint64_t rows_max, uint64_t limit, uint64_t copy_bytes)
      : decode_(sequences_max + 1), rows_max_(rows_max), limit_(limit), copy_us_(static_cast<double>(copy_bytes) / kCopyBytesPerUs) {}

  // This step shall decode and nothing else, so that its duration is known.
  bool wants_look(uint32_t decoding) const {
    return decoding > 0 && (decode_[decoding].us == 0 || decode_[decoding].since_look >= kStepsBetweenLooks);
  }

  // Prefill rows beside this many decoding sequences.
  uint64_t prefill_rows(uint32_t decoding) const {
    if (decoding == 0) return rows_max_;
    if (limit_ > 0) return std::min(limit_, rows_max_);
    if (wants_look(decoding)) return 0;
    if (row_us_ == 0) return std::min<uint64_t>(kRowsUnknown, rows_max_);
    return static_cast<uint64_t>(std::clamp(kShare * decode_[decoding].us / row_us_, 1.0, static_cast<double>(rows_max_)));
  }

  // How many prompt rows take so long.
  uint64_t rows_in(uint64_t us) const { return row_us_ == 0 ? rows_max_ : static_cast<uint64_t>(static_cast<double>(us) / row_us_); }

  // How many tokens to draft of `most`, when each is right with probability `hit` given that those before it were.
  uint64_t draft_rows(uint32_t decoding, uint64_t most, double hit) const {
    if (wants_look(decoding)) return 0;
    const double alone = decode_[decoding].us, row = draft_row_us_ == 0 ? alone / kDraftUnknown : draft_row_us_;
    double best = kDraftMargin, right = 1, gained = 0;  // tokens for the time of one step
    uint64_t rows = 0;
    for (uint64_t k = 1; k <= most; ++k) {
      right *= hit;
      gained += right;
      const double repeated = (1 - right) * (gained * row + copy_us_);  // what was read in vain is read again
      const double rate = (1 + gained) * alone / (alone + static_cast<double>(k) * row + copy_us_ + repeated);
      if (rate > best) {
        best = rate;
        rows = k;
      }
    }
    return rows;
  }

  struct Step {
    uint32_t decoding = 0;
    uint64_t decode_rows = 0, drafted_rows = 0, prefill_rows = 0;
  };
  void saw(const Step& s, uint64_t us) {
    const double took = std::max(static_cast<double>(us), 0.5);
    Decode& d = decode_[s.decoding];
    if (s.decoding > 0 && s.prefill_rows == 0 && s.drafted_rows == 0) {
      // Prefill beside it is measured by this: a step that the machine held up counts as at most twice the mean.
      learn(d.us, d.us == 0 ? took : std::min(took, 2 * d.us));
      d.since_look = 0;
      learn(decode_step_us_, took);
      return;
    }
    ++d.since_look;
    const double beyond = std::max(took - (s.decoding > 0 ? d.us : 0), took / 16);
    if (s.decoding == 0 && s.prefill_rows < kRowsTelling && row_us_ > 0) return;  // what every step costs is most of it
    if (s.prefill_rows > 0) {
      learn(row_us_, beyond / static_cast<double>(s.prefill_rows + s.drafted_rows));
    } else if (s.drafted_rows > 0) {
      learn(draft_row_us_, beyond / static_cast<double>(s.drafted_rows));
    }
  }

  double decode_step_ms() const { return decode_step_us_ / 1000; }
  double prefill_tokens_per_s() const { return row_us_ == 0 ? 0 : 1e6 / row_us_; }

 private:
  static constexpr double kShare = 0.75;              // of a decode step's time, for prefill beside it
  static constexpr uint64_t kRowsTelling = 16;
  static constexpr uint64_t kRowsUnknown = 8;         // before any prefill was timed
  static constexpr double kDraftUnknown = 8;          // a drafted row is assumed to cost this part of a step
  static constexpr double kDraftMargin = 1.05;        // below it drafting is not worth the doubt
  static constexpr double kCopyBytesPerUs = 4000;
  static constexpr uint32_t kStepsBetweenLooks = 64;
  struct Decode {
    double us = 0;
    uint32_t since_look = 0;
  };
  static void learn(double& mean, double now) { mean = mean == 0 ? now : mean + (now - mean) / 8; }

  std::vector<Decode> decode_;  // by how many sequences decode
  uint64_t rows_max_, limit_;
  double copy_us_;
  double row_us_ = 0, draft_row_us_ = 0, decode_step_us_ = 0;
};

}  // namespace sluice::engine
