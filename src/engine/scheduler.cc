// Requests from arrival to their slots, and their ends. The step itself is in scheduler_step.cc.
#include "engine/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/limits.h"
#include "engine/eviction.h"
#include "engine/scheduler_job.h"

namespace sluice::engine {
namespace {

constexpr uint64_t kWorthWaiting = kPageTokens;  // tokens of a prefix that another request is computing
constexpr size_t kAccountsKept = 1024;
constexpr uint64_t kStopStringsMax = 16;
constexpr uint64_t kDenseShare = 2;  // a dense grid may take up to one part in this of the empty memory

uint64_t pages_of(const StepSizes& sizes, const EngineOptions& options) {
  return sizes.page_bytes == 0 ? 0 : options.sequences_max * ((options.context + kPageTokens - 1) / kPageTokens);
}

Status check_sampler(const SamplerOptions& s, uint64_t vocabulary) {
  const auto within = [](const char* name, float value, float least, float most) -> Status {
    if (value >= least && value <= most) return {};  // false for NaN
    return Error{fmt::format("{} {}: must be {} to {}", name, value, least, most)};
  };
  constexpr float kMany = 1e6f;
  SLUICE_TRY_VOID(within("temperature", s.temperature, 0, kMany));
  SLUICE_TRY_VOID(within("top_p", s.top_p, 0, 1));
  SLUICE_TRY_VOID(within("min_p", s.min_p, 0, 1));
  SLUICE_TRY_VOID(within("typical_p", s.typical_p, 0, 1));
  SLUICE_TRY_VOID(within("repetition penalty", s.repetition_penalty, 1e-3f, kMany));
  SLUICE_TRY_VOID(within("presence penalty", s.presence.scale, -kMany, kMany));
  SLUICE_TRY_VOID(within("frequency penalty", s.frequency.scale, -kMany, kMany));
  SLUICE_TRY_VOID(within("share penalty", s.share.scale, -kMany, kMany));
  SLUICE_TRY_VOID(within("dry multiplier", s.dry.multiplier, 0, kMany));
  SLUICE_TRY_VOID(within("dry base", s.dry.base, 1, kMany));
  for (const auto& [id, bias] : s.logit_bias) {
    if (id < 0 || static_cast<uint64_t>(id) >= vocabulary) {
      return Error{fmt::format("logit bias of token {}: the vocabulary has {}", id, vocabulary)};
    }
    SLUICE_TRY_VOID(within("logit bias", bias, -kMany, kMany));
  }
  return {};
}

std::string too_large(std::string_view what, uint64_t value, uint64_t limit) { return fmt::format("{} {}: the limit is {}", what, value, limit); }

}  // namespace

uint64_t Scheduler::bytes(const StepSizes& sizes, const EngineOptions& options) {
  const uint64_t sampler = Sampler::bytes(sizes.vocabulary, options.context) + sizes.vocabulary / 8;
  return SequenceSlots::bytes(sizes, options.sequences_max, options.context, options.speculation) +
         store_options(sizes, pages_of(sizes, options), 0).budget_bytes + sampler;
}

Result<std::unique_ptr<Scheduler>> Scheduler::create(StepRunner& runner, const text::Tokenizer& tokenizer, uint64_t fingerprint,
                                                     const EngineOptions& options) {
  const StepSizes& sizes = runner.sizes();
  if (options.context == 0 || options.context > limits::kContextTokensMax) {
    return Error{fmt::format("a context of {} tokens: must be 1 to {}", options.context, limits::kContextTokensMax)};
  }
  if (options.sequences_max == 0 || options.sequences_max > sizes.logit_rows_max) {
    return Error{fmt::format("{} sequences at once: must be 1 to the plan's {} rows of logits", options.sequences_max, sizes.logit_rows_max)};
  }
  std::unique_ptr<Scheduler> scheduler(new Scheduler(runner, tokenizer, fingerprint, options));
  StoreOptions store = store_options(sizes, pages_of(sizes, options), options.store_bytes);
  store.program = fingerprint;
  store.ttl_ms = options.store_ttl_ms;
  SLUICE_TRY(scheduler->store_, StateStore::create(store, learned_evictor()));
  SLUICE_TRY(SequenceSlots slots, SequenceSlots::create(sizes, options.sequences_max, options.context, options.speculation, *scheduler->store_));
  scheduler->slots_.emplace(std::move(slots));
  SLUICE_TRY_VOID(scheduler->open_disk());
  return scheduler;
}

Scheduler::Scheduler(StepRunner& runner, const text::Tokenizer& tokenizer, uint64_t fingerprint, const EngineOptions& options)
    : runner_(runner), tokenizer_(tokenizer), fingerprint_(fingerprint), options_(options), classes_(tokenizer),
      sampler_(runner.sizes().vocabulary, &classes_, options.context),
      pace_(options.sequences_max, runner.sizes().rows_max, options.prefill_rows_max, runner.sizes().state_bytes),
      mask_((runner.sizes().vocabulary + 63) / 64) {
  running_.reserve(options.sequences_max);
  pieces_.reserve(options.sequences_max);
  rows_.reserve(runner.sizes().rows_max);
  prefilling_.reserve(options.sequences_max);
}

Scheduler::~Scheduler() { finish_writing(); }

Submitted Scheduler::check(const Request& request) const {
  const StepSizes& sizes = runner_.sizes();
  const auto invalid = [](std::string message) { return Submitted{0, Refusal::kInvalid, std::move(message)}; };
  if (request.prompt.empty()) return invalid("the prompt has no tokens");
  if (request.prompt.size() + (request.max_tokens > 0 ? 1 : 0) > options_.context) {
    return {0, Refusal::kTooLong, fmt::format("the prompt has {} tokens; the context holds {}, the answer's among them", request.prompt.size(),
                                              options_.context)};
  }
  for (const int32_t id : request.prompt) {
    if (id < 0 || static_cast<uint64_t>(id) >= sizes.vocabulary) {
      return invalid(fmt::format("token id {} is outside the vocabulary of {}", id, sizes.vocabulary));
    }
  }
  if (request.choices == 0) return invalid("0 choices: at least one is needed");
  if (request.choices > options_.sequences_max) return invalid(too_large("choices", request.choices, options_.sequences_max));
  if (request.top_logprobs > kTopLogprobsMax) return invalid(too_large("top logprobs", static_cast<uint64_t>(request.top_logprobs), kTopLogprobsMax));
  if (request.embed && sizes.last_norm < 0) return invalid("this model was compiled without what embeddings need");
  if (request.speculate > 0 && !options_.speculation) return invalid("speculation was not planned for (EngineOptions::speculation)");
  if (request.stop.strings.size() > kStopStringsMax) return invalid(too_large("stop strings", request.stop.strings.size(), kStopStringsMax));
  if (const Status sampler = check_sampler(request.sampler, sizes.vocabulary); !sampler.ok()) return invalid(sampler.error().message);
  if (const auto& thinking = request.thinking) {
    if (thinking->open.empty() || thinking->close.empty()) return invalid("a limit of thoughts needs the tags that they stand between");
    const auto unknown = [&](int32_t id) { return id < 0 || static_cast<uint64_t>(id) >= sizes.vocabulary; };
    if (std::any_of(thinking->end.begin(), thinking->end.end(), unknown)) return invalid("the end of the thoughts has tokens outside the vocabulary");
  }
  for (const Pin& pin : request.pins) {
    if (pin.position > request.prompt.size()) return invalid(too_large("pin position", pin.position, request.prompt.size()));
  }
  return {};
}

Scheduler::Account& Scheduler::account(uint32_t key) {
  Account& mine = accounts_[key];
  if (mine.jobs > 0) return mine;
  uint64_t least = UINT64_MAX;
  for (const auto& [other, account] : accounts_) {
    if (account.jobs > 0) least = std::min(least, account.served);
  }
  // To an idle engine everybody comes as equals: what one was served while nobody else asked is not held against it.
  floor_ = std::max(floor_, least == UINT64_MAX ? served_most_ : least);
  mine.served = std::max(mine.served, floor_);  // time without work is not saved up
  return mine;
}

void Scheduler::add(RequestId id, Request request, std::shared_ptr<ResponseSink> sink) {
  auto job = std::make_unique<Job>();
  job->id = id;
  job->request = std::move(request);
  job->sink = std::move(sink);
  job->account = &account(job->request.key);
  ++job->account->jobs;
  job->submitted_us = now_us();
  ++statistics_.queued_requests;
  statistics_.queued_tokens += job->request.prompt.size();
  jobs_.push_back(std::move(job));
}

void Scheduler::cancel(RequestId id) {
  for (const auto& job : jobs_) {
    if (job->id == id) job->cancelled = true;
  }
}

void Scheduler::cancel_all() {
  for (const auto& job : jobs_) job->cancelled = true;
  end_what_is_due();
  sweep();
}

void Scheduler::sweep() {
  std::erase_if(running_, [](const auto& choice) { return choice->done; });
  std::erase_if(jobs_, [&](const auto& job) {
    if (!job->gone) return false;
    --job->account->jobs;
    if (job->account->jobs == 0 && accounts_.size() > kAccountsKept) accounts_.erase(job->request.key);
    return true;
  });
}

// Cancelled requests, and deadlines that have passed.
void Scheduler::end_what_is_due() {
  const uint64_t now = now_us();
  for (const auto& job : jobs_) {
    if (job->gone) continue;
    if (job->cancelled) {
      finish_job(*job, FinishReason::kCancelled, "");
      continue;
    }
    const Request& r = job->request;
    const uint64_t waited_ms = (now - job->submitted_us) / 1000;
    const bool late = (r.queue_deadline_ms > 0 && !job->admitted() && waited_ms >= r.queue_deadline_ms) ||
                      (r.first_token_deadline_ms > 0 && job->prompt_done_us == 0 && waited_ms >= r.first_token_deadline_ms) ||
                      (r.total_deadline_ms > 0 && waited_ms >= r.total_deadline_ms);
    if (late) finish_job(*job, FinishReason::kDeadline, "");
  }
}

void Scheduler::leave_queue(const Job& job) {
  --statistics_.queued_requests;
  statistics_.queued_tokens -= job.request.prompt.size();
  ++departures_.requests;
  departures_.tokens += job.request.prompt.size();
}

bool Scheduler::before(const Job& a, const Job& b) const {
  if (a.request.tier != b.request.tier) return a.request.tier < b.request.tier;
  if (a.account->served != b.account->served) return a.account->served < b.account->served;
  if (a.account->slots != b.account->slots) return a.account->slots < b.account->slots;  // who just came has been served as much as the least
  return a.id < b.id;
}

void Scheduler::admit() {
  while (slots_->free_count() > slots_promised_) {
    Job* const job = next_to_admit();
    // A job of many choices is not overtaken for ever by those that need fewer slots.
    if (job == nullptr || job->request.choices > slots_->free_count() - slots_promised_) return;
    start(*job);
  }
}

// A key that has slots leaves the last free one to keys that have none, so that no flood makes a newcomer wait for the end of an answer. Key 0 is
// everybody where there are no keys: nobody to leave it to.
bool Scheduler::leaves_the_last_slot(const Job& job) const {
  const bool alone = job.request.key == 0 || options_.sequences_max == 1;
  return alone || job.account->slots == 0 || slots_->free_count() - slots_promised_ > job.request.choices;
}

Scheduler::Job* Scheduler::next_to_admit() {
  Job* best = nullptr;
  ++admissions_;
  for (const auto& job : jobs_) {
    if (job->gone || job->admitted() || (best != nullptr && !before(*job, *best))) continue;
    Account& account = *job->account;
    // What is held back is not overtaken by later ones of its key, which may need fewer slots.
    if (account.held_back_at == admissions_ && account.held_back <= job->request.tier) continue;
    if (!leaves_the_last_slot(*job)) {
      account.held_back_at = admissions_;
      account.held_back = job->request.tier;
      continue;
    }
    if (!waits_for_a_prefix(*job) && !waits_for_the_disk(*job)) best = job.get();
  }
  return best;
}

// Somebody is reading a prompt that begins like this one: its checkpoint where they part is worth more than computing the same once more.
bool Scheduler::waits_for_a_prefix(Job& job) {
  if (!job.shares()) return false;
  if (job.waits_for != 0) {
    for (const auto& choice : running_) {
      if (choice->job.id == job.waits_for && !choice->done && (*slots_)[choice->slot].read < job.waits_until) return true;
    }
    job.waits_for = 0;
  }
  for (const auto& choice : running_) {
    Job& other = choice->job;
    if (choice->done || choice->decoding || !other.shares() || other.request.tenant != job.request.tenant) continue;
    const uint64_t read = (*slots_)[choice->slot].read;
    const std::vector<int32_t>&mine = job.request.prompt, &theirs = other.request.prompt;
    const uint64_t most = std::min(mine.size(), theirs.size()) - 1;  // the last token is computed for its logits
    if (most < read + kNearTokens) continue;
    const auto parts = std::mismatch(mine.begin(), mine.begin() + static_cast<std::ptrdiff_t>(most), theirs.begin());
    uint64_t common = static_cast<uint64_t>(parts.first - mine.begin());
    if (common < read + kNearTokens || common < store_->resumable(job.request.tenant, mine) + kWorthWaiting) continue;
    auto place = std::find_if(other.places.begin(), other.places.end(), [&](const Place& p) { return p.position + kNearTokens > common; });
    if (place != other.places.end() && place->position <= common) {
      common = place->position;
      place->always = true;
      place->spare_only = false;
    } else {
      other.places.insert(place, {.position = common, .kind = Kind::kJunction, .always = true});
    }
    job.waits_for = other.id;
    job.waits_until = common;
    return true;
  }
  return false;
}

void Scheduler::start(Job& job) {
  const Request& r = job.request;
  job.admitted_us = now_us();
  leave_queue(job);
  const uint32_t slot = slots_->take();
  ++statistics_.running_sequences;
  slots_promised_ += r.choices - 1;
  job.account->slots += r.choices;
  job.started = job.running = 1;
  running_.push_back(std::make_unique<Choice>(job, 0, slot, tokenizer_));
  Choice& choice = *running_.back();
  count_prompt(choice);
  (*slots_)[slot].tokens.assign(r.prompt.begin(), r.prompt.end());
  if (r.use_store && !job.needs_every_row()) {
    store_->lookup({.tenant = r.tenant, .program = fingerprint_, .now_ms = job.admitted_us / 1000, .tokens = r.prompt, .message_starts = r.message_starts},
                   lookup_);
    job.resumed = choice.kept = lookup_.resume;
  } else {
    lookup_.resume = lookup_.matched = lookup_.shared = 0;
    lookup_.checkpoint = kNoCheckpoint;
  }
  if (job.disk_failed && lookup_.reason != MissReason::kNone) lookup_.reason = MissReason::kDiskReadFailed;
  if (r.keep) place_checkpoints(job, lookup_);
  statistics_.prompt_tokens += r.prompt.size();
  statistics_.cached_tokens += job.resumed;
  job.sink->started({job.admitted_us - job.submitted_us, job.resumed, r.use_store && !job.needs_every_row() ? &lookup_ : nullptr});
  if (lookup_.resume == 0) {
    store_->release(lookup_);
    slots_->begin(slot);
  } else if (const Status resumed = slots_->resume(slot, lookup_); !resumed.ok()) {
    fail(choice, resumed.error().message);
  }
}

void Scheduler::place_checkpoints(Job& job, const Lookup& lookup) {
  const Request& r = job.request;
  std::vector<Mark>& marks = marks_;
  const uint64_t last_message = r.message_starts.empty() ? 0 : r.message_starts.back();
  const uint64_t shared = std::max(lookup.shared, std::min(job.disk_shared, r.prompt.size() - 1));
  place_prompt({lookup.resume, shared, r.prompt.size(), r.system_end, last_message}, marks);
  for (const Mark& mark : marks) {
    if (mark.position >= job.resumed + kNearTokens) job.places.push_back({mark.position, mark.kind});
  }
  place_grid_points(job);
  const uint64_t now_ms = job.admitted_us / 1000;
  const auto pin_at = [&](uint64_t position, uint64_t ttl_ms) {
    if (position == 0 || ttl_ms == 0) return;
    if (position <= job.resumed) {  // read by an earlier request; there may be a checkpoint
      const uint32_t there = store_->find(r.tenant, std::span(r.prompt).first(position));
      if (there != kNoCheckpoint) (void)store_->pin(there, ttl_ms, now_ms);
      return;
    }
    const auto place = std::find_if(job.places.begin(), job.places.end(), [&](const Place& p) { return p.position >= position; });
    if (place != job.places.end() && place->position == position) {
      place->always = true;
      place->pin_ttl_ms = std::max(place->pin_ttl_ms, ttl_ms);
      place->spare_only = false;
    } else {
      job.places.insert(place, {.position = position, .kind = Kind::kJunction, .always = true, .pin_ttl_ms = ttl_ms});
    }
  };
  for (const Pin& pin : r.pins) pin_at(pin.position, pin.ttl_ms);
  pin_at(r.prompt.size() - 1, r.pin_ttl_ms);
}

// Interior points, as many as the empty memory allows; a model without recurrent state needs none.
void Scheduler::place_grid_points(Job& job) {
  const uint64_t end = job.request.prompt.size() - 1, state = store_->state_blocks();
  if (state == 0 || end <= job.resumed + kBeforeEndTokens) return;
  const uint64_t spare_states = store_->free_blocks() / state, dense_states = (end - job.resumed) / kBeforeEndTokens;
  if (spare_states > kDenseShare * dense_states) {
    place_dense_grid(job.resumed, end, marks_);
  } else {
    place_grid(job.resumed, end, marks_);
  }
  for (const Mark& mark : marks_) {
    const auto near = [&](const Place& p) { return std::max(p.position, mark.position) - std::min(p.position, mark.position) < kBeforeEndTokens / 2; };
    if (mark.position < job.resumed + kNearTokens || std::any_of(job.places.begin(), job.places.end(), near)) continue;
    const auto after = std::find_if(job.places.begin(), job.places.end(), [&](const Place& p) { return p.position > mark.position; });
    job.places.insert(after, {.position = mark.position, .kind = mark.kind, .spare_only = true});
  }
}

void Scheduler::fail(Choice& choice, const std::string& message) { finish_job(choice.job, FinishReason::kError, message); }

void Scheduler::finish(Choice& choice, FinishReason reason, int32_t stop_id) {
  if (choice.done) return;
  Job& job = choice.job;
  SequenceSlot& slot = (*slots_)[choice.slot];
  if (choice.ahead) put_back(choice);
  if (reason != FinishReason::kError && choice.decoding && job.request.keep && slot.read >= choice.kept + kNearTokens) {
    keep(choice, {slot.read, Kind::kAnswerEnd});
  }
  choice.text.finish();
  job.sink->choice_done({choice.number, reason, choice.text.shown(), choice.text.stopped_by(), stop_id, choice.generated});
  choice.done = true;
  slots_->give_back(choice.slot);
  --statistics_.running_sequences;
  --job.account->slots;
  if (--job.running == 0 && job.started == job.request.choices) finish_job(job, reason, "");
}

// Ends whatever of the job has not ended, and tells its sink for the last time.
void Scheduler::finish_job(Job& job, FinishReason reason, std::string_view error) {
  if (job.gone) return;
  job.gone = true;  // first: finish() of the last choice comes back here
  if (!job.admitted()) leave_queue(job);
  for (const auto& choice : running_) {
    if (&choice->job == &job) finish(*choice, reason, -1);
  }
  if (job.admitted()) {
    slots_promised_ -= job.request.choices - job.started;
    job.account->slots -= job.request.choices - job.started;
  }
  for (; job.started < job.request.choices; ++job.started) job.sink->choice_done({.choice = job.started, .reason = reason});
  const uint64_t now = now_us();
  const uint64_t begun = job.admitted_us == 0 ? now : job.admitted_us, read = job.prompt_done_us == 0 ? now : job.prompt_done_us;
  RequestDone done{.prompt_tokens = job.request.prompt.size(), .cached_tokens = job.resumed, .completion_tokens = job.completion_tokens,
                   .drafted_tokens = job.drafted, .accepted_tokens = job.accepted, .queue_us = begun - job.submitted_us,
                   .prompt_us = read - begun, .completion_us = now - read, .error = error, .embedding = job.embedding_mean};
  ++(reason == FinishReason::kCancelled ? statistics_.requests_cancelled
     : reason == FinishReason::kError   ? statistics_.requests_failed
                                        : statistics_.requests_done);
  job.sink->done(done);
  job.sink.reset();
}

const EngineStatistics& Scheduler::statistics() {
  statistics_.prefill_tokens_per_s = pace_.prefill_tokens_per_s();
  statistics_.decode_step_ms = pace_.decode_step_ms();
  statistics_.store = store_->stats();
  if (disk_ != nullptr) {
    const DiskStats& disk = disk_->stats();
    statistics_.disk_snapshots = disk.snapshots;
    statistics_.disk_bytes = disk.bytes;
    statistics_.disk_written = disk.written;
    statistics_.disk_loaded = disk.loaded;
    statistics_.disk_failures = disk.write_failures + disk.load_failures;
  }
  return statistics_;
}

}  // namespace sluice::engine
