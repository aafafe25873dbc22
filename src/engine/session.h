// One conversation on one runtime: its recurrent state, its KV pages and the tokens it has read. feed() reads tokens in chunks; the logits do not depend
// on how they were cut. Memory is taken at create() for the whole context; pages become resident as positions are reached.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "platform/memory.h"
#include "runtime/runtime.h"

namespace sluice::engine {

class Session {
 public:
  // `context`: most tokens the conversation may hold. `runtime` must outlive the session.
  static Result<std::unique_ptr<Session>> create(runtime::Runtime& runtime, uint64_t context);

  // Called after each step with the first position of its rows and how many rows of logits there are (rows that asked).
  using OnLogits = std::function<void(uint64_t position, size_t rows)>;
  struct FeedOptions {
    uint64_t chunk = 0;                            // rows a step, at most; 0: as many as the plan allows
    bool all_logits = false;                       // every row, not only the last one fed
    const runtime::Observer* observer = nullptr;
    OnLogits on_logits;                            // runtime.logits(i) is the row at position + i (all_logits) or the last row
    std::function<bool(uint64_t done)> keep_going;  // false stops after the current step; the session stays consistent
  };
  Status feed(std::span<const int32_t> tokens, const FeedOptions& options);

  // Logits of the last token fed, [vocabulary].
  std::span<const float> logits() const;

  // Back to an empty conversation.
  void reset();

  const std::vector<int32_t>& tokens() const { return tokens_; }
  uint64_t context() const { return context_; }
  runtime::Runtime& runtime() { return runtime_; }

  // The whole state as bytes of memory, for state_file.h: recurrent state, and the pages that hold positions.
  std::span<std::byte> state_bytes() const { return memory_.bytes().first(state_bytes_); }
  std::span<std::byte> page(size_t index) const;
  size_t pages_used() const;
  // For callers that step the runtime themselves, several sequences at once: the sequence's memory, and the tokens it has then read.
  const runtime::Sequence& sequence() const { return sequence_; }
  void adopt(std::vector<int32_t> tokens) { tokens_ = std::move(tokens); }

 private:
  Session(runtime::Runtime& runtime, uint64_t context) : runtime_(runtime), context_(context) {}

  runtime::Runtime& runtime_;
  uint64_t context_;
  uint64_t state_bytes_ = 0;
  platform::AnonymousMapping memory_;  // state, then pages
  std::vector<uint8_t*> pages_;
  runtime::Sequence sequence_;
  std::vector<int32_t> tokens_;
  std::vector<runtime::StepRow> rows_;
  size_t last_logits_ = 0;
};

}  // namespace sluice::engine
