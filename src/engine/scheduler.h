// The engine's deterministic core: jobs wait in one queue, take slots, and share steps; everything happens inside step(), with the time that the injected
// clock tells, so whole runs are simulated in tests. Decode rows go first; prefill chunks fill what is left, fewer while others decode.
// Contract: one thread. A chunk ends where a checkpoint is to be taken (placement.h). A job that fails ends alone.
// Next: step_runner.h (what steps), sequence_slots.h (where sequences live), engine.cc (the thread around this).
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/answer_text.h"
#include "engine/disk_tier.h"
#include "engine/engine.h"
#include "engine/placement.h"
#include "engine/sequence_slots.h"
#include "engine/step_pace.h"
#include "engine/step_runner.h"

namespace sluice::engine {

class Scheduler {
 public:
  // `runner` and `tokenizer` outlive the scheduler.
  static Result<std::unique_ptr<Scheduler>> create(StepRunner& runner, const text::Tokenizer& tokenizer, uint64_t fingerprint, const EngineOptions& options);
  static uint64_t bytes(const StepSizes& sizes, const EngineOptions& options);
  ~Scheduler();

  // Whether this request can ever run; of any thread, before add().
  Submitted check(const Request& request) const;
  void add(RequestId id, Request request, std::shared_ptr<ResponseSink> sink);
  void cancel(RequestId id);
  void cancel_all();

  // Ends what is due, admits what fits, computes one step. False when there was nothing to compute.
  bool step();
  bool idle() const { return jobs_.empty(); }

  StateStore& store() { return *store_; }
  // The state at exactly these tokens' end: from memory and disk, where nothing goes on from it.
  void forget(uint32_t tenant, std::span<const int32_t> tokens);
  const EngineStatistics& statistics();
  // Since the beginning, what has left the queue: for a slot, or for good.
  struct Departures {
    uint64_t requests = 0, tokens = 0;
  };
  const Departures& departures() const { return departures_; }

 private:
  struct Job;
  struct Choice;
  struct Piece;
  struct Place;
  struct Account;

  Scheduler(StepRunner& runner, const text::Tokenizer& tokenizer, uint64_t fingerprint, const EngineOptions& options);

  // Admission and ends (scheduler.cc).
  void sweep();
  void end_what_is_due();
  void leave_queue(const Job& job);
  void admit();
  Job* next_to_admit();
  bool leaves_the_last_slot(const Job& job) const;
  bool waits_for_a_prefix(Job& job);
  void start(Job& job);
  void place_checkpoints(Job& job, const Lookup& lookup);
  void place_grid_points(Job& job);
  void finish(Choice& choice, FinishReason reason, int32_t stop_id);
  void finish_job(Job& job, FinishReason reason, std::string_view error);
  void fail(Choice& choice, const std::string& message);
  Account& account(uint32_t key);
  bool before(const Job& a, const Job& b) const;

  // One step (scheduler_step.cc).
  void plan_rows();
  void plan_decode();
  void plan_prefill(uint64_t budget);
  uint64_t rows_between_keys() const;
  uint64_t rows_ahead(const Choice& choice);
  bool comes_to_a_flood(const Job& job) const;
  void add_rows(Choice& choice, uint64_t rows, uint64_t wanting);
  void compute();
  void after(const Piece& piece, size_t logits_begin);
  void keep(Choice& choice, const Place& place);

  // What comes out of it (scheduler_draw.cc).
  void tell_prompt_logprobs(Choice& choice, uint64_t position, size_t rows, size_t logits_begin);
  void end_of_prompt(Choice& first, std::span<const float> logits);
  void count_prompt(Choice& choice);
  void draw(Choice& choice, std::span<const float> logits);
  bool end_thinking(Choice& choice, const DrawInput& input);
  void emit(Choice& choice, const Drawn& drawn);
  bool jump(Choice& choice);
  void draft(Choice& choice, uint64_t most);
  void judge_draft(Choice& choice, size_t logits_begin);
  void put_back(Choice& choice);

  // Below memory (scheduler_disk.cc).
  Status open_disk();
  void poll_disk();
  bool waits_for_the_disk(Job& job);
  void persist(uint32_t checkpoint, uint32_t tenant);
  void write_what_fits();
  void finish_writing();

  uint64_t now_us() const { return options_.now_us(); }

  StepRunner& runner_;
  const text::Tokenizer& tokenizer_;
  const uint64_t fingerprint_;
  EngineOptions options_;
  std::unique_ptr<StateStore> store_;
  std::unique_ptr<DiskTier> disk_;  // may be null; behind store_, whose pages it writes until it is gone
  std::vector<DiskTier::Loaded> loaded_;
  struct Unwritten {
    uint32_t checkpoint, tenant;
    uint64_t payload;  // a checkpoint with another one has taken its number
  };
  std::deque<Unwritten> unwritten_;
  std::vector<int32_t> unwritten_tokens_;
  uint64_t kept_ = 0;  // the payload of the last checkpoint
  uint64_t disk_refreshed_us_ = 0;
  uint32_t disk_reading_ = 0;
  std::optional<SequenceSlots> slots_;
  TokenClasses classes_;
  Sampler sampler_;
  StepPace pace_;
  std::vector<std::unique_ptr<Job>> jobs_;  // in order of arrival
  std::map<uint32_t, Account> accounts_;
  uint64_t floor_ = 0;  // what a key that comes anew has been served
  uint64_t served_most_ = 0;  // of all keys so far
  std::vector<std::unique_ptr<Choice>> running_;  // one for each slot taken
  uint32_t slots_promised_ = 0;                   // to choices that fork at their prompt's end
  uint64_t turn_ = 0;                             // which decoding sequence goes first
  uint64_t admissions_ = 0;                       // calls of next_to_admit()
  uint32_t since_newcomer_ = 0;                   // steps
  std::vector<Piece> pieces_;
  std::vector<runtime::StepRow> rows_;
  uint64_t logit_rows_ = 0;
  StepPace::Step planned_;
  std::vector<Choice*> prefilling_;
  std::vector<text::MaskWord> mask_;
  std::vector<int32_t> banned_;
  Lookup lookup_;
  std::vector<Mark> marks_;
  EngineStatistics statistics_;
  Departures departures_;
};

}  // namespace sluice::engine
