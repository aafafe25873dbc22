// What the scheduler keeps of a request (Job) and of each of its running choices (Choice). For scheduler*.cc only.
#pragma once

#include "base/check.h"
#include "engine/scheduler.h"
#include "engine/thinking_cut.h"

namespace sluice::engine {

// What a key has been served, in rows; keys that have work are served evenly.
struct Scheduler::Account {
  uint64_t served = 0;
  uint32_t jobs = 0;
  uint32_t slots = 0;          // taken, or promised to choices to come
  uint64_t held_back_at = 0;   // the admission (admissions_) in which a job of this key was held back,
  Tier held_back = Tier::kPerformance;  // and its tier
};

// A checkpoint to be taken.
struct Scheduler::Place {
  uint64_t position = 0;
  Kind kind = Kind::kPromptEnd;
  bool always = false;  // somebody waits for it, or it is to be pinned
  uint64_t pin_ttl_ms = 0;  // 0: not pinned
  bool spare_only = false;  // only in memory that stands empty
};

struct Scheduler::Job {
  RequestId id = 0;
  Request request;
  std::shared_ptr<ResponseSink> sink;
  Account* account = nullptr;
  bool cancelled = false;
  bool gone = false;                 // told to the sink; swept before the next step
  RequestId waits_for = 0;           // computes a prefix of this prompt, up to waits_until
  uint64_t waits_until = 0;
  enum class Disk : uint8_t { kNew, kRefreshing, kAsk, kReading, kDone } disk = Disk::kNew;
  uint64_t disk_ticket = 0;
  uint64_t disk_shared = 0;          // tokens that agree with something there: a junction, as in memory
  bool disk_failed = false;          // something was there and could not be read
  uint32_t started = 0;              // choices that have a slot, or had one
  uint32_t running = 0;
  std::optional<uint64_t> ahead_rows;  // of a newcomer to a flood: prompt rows that it may still read beyond the budget (plan_prefill)
  uint64_t submitted_us = 0, admitted_us = 0, prompt_done_us = 0;
  uint64_t resumed = 0;
  std::vector<Place> places;         // still to come while the prompt is read, rising
  uint64_t completion_tokens = 0, drafted = 0, accepted = 0;
  std::vector<double> embedding;     // sum
  std::vector<float> embedding_mean;

  bool admitted() const { return started > 0; }
  bool needs_every_row() const { return request.echo_logprobs || request.embed; }
  bool shares() const { return request.keep && request.use_store && !needs_every_row(); }
};

struct Scheduler::Choice {
  Choice(Job& owner, uint32_t number_in_job, uint32_t slot_index, const text::Tokenizer& tokenizer)
      : job(owner), number(number_in_job), slot(slot_index), text(tokenizer, owner.request.stop.strings, owner.request.show_special) {
    if (owner.request.constraint_begun != nullptr) {
      constraint.emplace(*owner.request.constraint_begun);
    } else if (owner.request.constraint != nullptr) {
      constraint.emplace(owner.request.constraint);
    }
    if (owner.request.thinking) thinking.emplace(*owner.request.thinking);
    draft.reserve(owner.request.speculate);
  }

  Job& job;
  uint32_t number, slot;
  bool decoding = false;             // the prompt is read
  bool done = false;                 // swept before the next step
  uint64_t generated = 0;
  uint64_t kept = 0;                 // where its last checkpoint lies
  AnswerText text;
  std::optional<text::ConstraintState> constraint;
  std::optional<ThinkingCut> thinking;
  std::optional<TokenCounts> counts;  // where the sampler's penalties want them
  std::vector<int32_t> draft;        // read in this step behind the pending tokens
  bool ahead = false;                // the state has read drafted tokens that are not judged yet
  int32_t foreseen = -1;             // what the lookup says comes next
  double hit_rate = 0.3;             // of what it says; learned also while nothing is drafted
};

// Rows of one choice in a step; the last `logits` of them want logits.
struct Scheduler::Piece {
  Choice* choice = nullptr;
  size_t row_begin = 0, rows = 0;
  size_t logits_begin = 0, logits = 0;
};

}  // namespace sluice::engine
