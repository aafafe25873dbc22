// One step: which rows, their computation, and what comes out of it. Part of scheduler.h.
#include <algorithm>

#include "engine/scheduler_job.h"

namespace sluice::engine {
namespace {

// Adds up the last norm's rows of the choices that want an embedding.
struct EmbeddingSums {
  struct Part {
    size_t begin, rows;
    std::vector<double>* sum;
  };
  int64_t index;
  std::span<Part> parts;

  static void see(void* self, int64_t index, const float* rows, size_t row_count, size_t width, size_t stride) {
    const EmbeddingSums& sums = *static_cast<EmbeddingSums*>(self);
    if (index != sums.index) return;
    for (const Part& part : sums.parts) {
      part.sum->resize(width);
      for (size_t r = part.begin; r < part.begin + part.rows && r < row_count; ++r) {
        for (size_t i = 0; i < width; ++i) (*part.sum)[i] += static_cast<double>(rows[r * stride + i]);
      }
    }
  }
};

constexpr uint32_t kStepsBetweenNewcomers = 4;
constexpr uint64_t kShortPrefillRows = 64;
constexpr uint64_t kKeyedStepUs = 500'000, kNewcomerUs = 1'000'000;
constexpr uint64_t kAheadOfFlood = 256;  // rows that a key may have been served more than a flood and still go first

}  // namespace

bool Scheduler::step() {
  poll_disk();
  sweep();
  end_what_is_due();
  sweep();
  admit();
  plan_rows();
  if (rows_.empty()) return false;
  compute();
  ++statistics_.steps;
  return true;
}

void Scheduler::plan_rows() {
  rows_.clear();
  pieces_.clear();
  logit_rows_ = 0;
  planned_ = {};
  for (const auto& choice : running_) planned_.decoding += choice->decoding && !choice->done ? 1 : 0;
  ++since_newcomer_;
  plan_decode();
  planned_.decode_rows = rows_.size();
  plan_prefill(std::min({runner_.sizes().rows_max - rows_.size(), pace_.prefill_rows(planned_.decoding), rows_between_keys()}));
  planned_.prefill_rows = rows_.size() - planned_.decode_rows;
}

// Rows for the next tokens of a choice, and for those drafted behind them; `wanting`, the last ones, want logits.
void Scheduler::add_rows(Choice& choice, uint64_t rows, uint64_t wanting) {
  SequenceSlot& slot = (*slots_)[choice.slot];
  if (const Status reserved = slots_->reserve(choice.slot, slot.read + rows); !reserved.ok()) return fail(choice, reserved.error().message);
  pieces_.push_back({&choice, rows_.size(), rows, logit_rows_, wanting});
  for (uint64_t r = 0; r < rows; ++r) {
    const uint64_t position = slot.read + r;
    const int32_t token = position < slot.tokens.size() ? slot.tokens[position] : choice.draft[position - slot.tokens.size()];
    rows_.push_back({token, static_cast<int32_t>(position), &slot.memory, r + wanting >= rows});
  }
  logit_rows_ += wanting;
}

void Scheduler::plan_decode() {
  const StepSizes& sizes = runner_.sizes();
  const size_t count = running_.size();
  uint64_t others = planned_.decoding;  // that still need a row of their own
  ++turn_;
  for (size_t i = 0; i < count; ++i) {
    Choice& choice = *running_[(i + turn_) % count];
    if (choice.done || !choice.decoding || rows_.size() == sizes.rows_max || logit_rows_ == sizes.logit_rows_max) continue;
    const SequenceSlot& slot = (*slots_)[choice.slot];
    const uint64_t pending = slot.tokens.size() - slot.read;
    const uint64_t rows = std::min<uint64_t>(pending, sizes.rows_max - rows_.size());
    --others;
    choice.draft.clear();
    if (rows < pending) {
      add_rows(choice, rows, 0);
      continue;
    }
    const uint64_t spare_rows = sizes.rows_max - rows_.size() - rows, spare_logits = sizes.logit_rows_max - logit_rows_ - 1;
    const uint64_t spare = std::min(spare_rows, spare_logits);
    if (choice.job.request.speculate > 0) draft(choice, spare > others ? spare - others : 0);
    if (!choice.draft.empty()) slots_->back_up(choice.slot);
    planned_.drafted_rows += choice.draft.size();
    add_rows(choice, rows + choice.draft.size(), 1 + choice.draft.size());
  }
}

// Prompt rows of a step where there are keys: whoever comes waits for the step that runs. A key with several requests keeps it short (Jamba 3B Q4_K_M reads
// 79 tokens/s in steps of 64 rows, 86 in steps of 512), one with a single prompt at half a second.
uint64_t Scheduler::rows_between_keys() const {
  uint64_t rows = UINT64_MAX;
  for (const auto& choice : running_) {
    if (choice->done || choice->decoding || choice->job.request.key == 0) continue;
    rows = std::min(rows, choice->job.account->jobs > 1 ? kShortPrefillRows : std::max(kShortPrefillRows, pace_.rows_in(kKeyedStepUs)));
  }
  return rows;
}

// Another key has half of all slots or more, and this one nothing but this job and not many more rows than that one since both were there.
bool Scheduler::comes_to_a_flood(const Job& job) const {
  if (job.request.tier > Tier::kOnDemand || job.account->slots > job.request.choices) return false;
  return std::any_of(running_.begin(), running_.end(), [&](const auto& choice) {
    const Account& other = *choice->job.account;
    return other.slots >= 2 && 2 * other.slots >= options_.sequences_max && other.served + kAheadOfFlood >= job.account->served && &other != job.account &&
           choice->job.request.tier >= job.request.tier;
  });
}

// Prompt rows that a newcomer to a flood may read at once: within the budget it would wait for its first token until as many rows of the flood have been
// computed, twice as long as alone and longer. One newcomer in kStepsBetweenNewcomers, so that keys that come one after the other do not stop the rest.
uint64_t Scheduler::rows_ahead(const Choice& choice) {
  Job& job = choice.job;
  if (options_.prefill_rows_max == 0 && !job.ahead_rows && since_newcomer_ >= kStepsBetweenNewcomers && comes_to_a_flood(job)) {
    job.ahead_rows = std::max(kShortPrefillRows, pace_.rows_in(kNewcomerUs));
    since_newcomer_ = 0;
  }
  return job.ahead_rows.value_or(0);
}

void Scheduler::plan_prefill(uint64_t budget) {
  prefilling_.clear();
  for (const auto& choice : running_) {
    if (!choice->done && !choice->decoding) prefilling_.push_back(choice.get());
  }
  std::sort(prefilling_.begin(), prefilling_.end(), [&](const Choice* a, const Choice* b) { return before(a->job, b->job); });
  for (Choice* const choice : prefilling_) {
    Job& job = choice->job;
    const SequenceSlot& slot = (*slots_)[choice->slot];
    const uint64_t logits_left = runner_.sizes().logit_rows_max - logit_rows_, rows_left = runner_.sizes().rows_max - rows_.size();
    const uint64_t ahead = rows_ahead(*choice);
    uint64_t rows = std::min({slot.tokens.size() - slot.read, std::max(budget, ahead), rows_left});
    if (!job.places.empty()) rows = std::min(rows, job.places.front().position - slot.read);
    if (job.needs_every_row()) rows = std::min(rows, logits_left);
    const bool to_the_end = slot.read + rows == slot.tokens.size();
    if (to_the_end && logits_left == 0 && rows > 0) --rows;
    if (rows == 0) continue;
    const bool draws = slot.read + rows == slot.tokens.size() && job.request.max_tokens > 0;
    add_rows(*choice, rows, job.needs_every_row() ? rows : draws ? 1 : 0);
    budget -= std::min(budget, rows);
    if (ahead > 0) *job.ahead_rows -= std::min(ahead, rows);
  }
}

void Scheduler::compute() {
  std::vector<EmbeddingSums::Part> parts;
  for (const Piece& piece : pieces_) {
    if (piece.choice->job.request.embed) parts.push_back({piece.logits_begin, piece.logits, &piece.choice->job.embedding});
  }
  EmbeddingSums sums{runner_.sizes().last_norm, parts};
  const runtime::Observer observer{&EmbeddingSums::see, &sums};
  const uint64_t begin = now_us();
  const Status stepped = runner_.step(rows_, parts.empty() ? nullptr : &observer);
  if (stepped.ok()) {
    pace_.saw(planned_, now_us() - begin);
    for (const Piece& piece : pieces_) after(piece, piece.logits_begin);
    return;
  }
  // Nothing was computed. One request's fault is not the others': each goes alone.
  for (const Piece& piece : pieces_) {
    if (piece.choice->done) continue;
    if (piece.choice->job.request.embed) {
      fail(*piece.choice, stepped.error().message);
      continue;
    }
    const Status alone = runner_.step(std::span(rows_).subspan(piece.row_begin, piece.rows), nullptr);
    if (alone.ok()) {
      after(piece, 0);
    } else {
      fail(*piece.choice, alone.error().message);
    }
  }
}

void Scheduler::after(const Piece& piece, size_t logits_begin) {
  Choice& choice = *piece.choice;
  if (choice.done) return;  // another choice of its job failed
  Job& job = choice.job;
  SequenceSlot& slot = (*slots_)[choice.slot];
  job.account->served += piece.rows;
  served_most_ = std::max(served_most_, job.account->served);
  if (!choice.draft.empty()) return judge_draft(choice, logits_begin);
  slot.read += piece.rows;
  while (!job.places.empty() && job.places.front().position == slot.read) {
    keep(choice, job.places.front());
    job.places.erase(job.places.begin());
  }
  if (job.request.echo_logprobs && !choice.decoding) tell_prompt_logprobs(choice, slot.read - piece.rows, piece.rows, logits_begin);
  if (slot.read < slot.tokens.size()) return;
  const std::span<const float> logits = piece.logits == 0 ? std::span<const float>() : runner_.logits(logits_begin + piece.logits - 1);
  if (choice.decoding) {
    if (job.request.keep && slot.read >= choice.kept + kBeforeEndTokens) keep(choice, {.position = slot.read, .kind = Kind::kGrid, .spare_only = true});
    draw(choice, logits);
  } else {
    end_of_prompt(choice, logits);
  }
}

void Scheduler::keep(Choice& choice, const Place& place) {
  const Job& job = choice.job;
  const SequenceSlot& slot = (*slots_)[choice.slot];
  const uint64_t now_ms = now_us() / 1000;
  const std::span<const int32_t> tokens = std::span<const int32_t>(slot.tokens).first(place.position);
  const std::span<const BlockId> pages =
      slot.pages.empty() ? std::span<const BlockId>() : std::span<const BlockId>(slot.pages).first((place.position + kPageTokens - 1) / kPageTokens);
  const uint32_t id = store_->insert({.tenant = job.request.tenant, .now_ms = now_ms, .tokens = tokens, .kind = place.kind,
                                      .turn = job.resumed > job.request.system_end ? 1u : 0u, .payload = ++kept_,
                                      .state = slots_->state(choice.slot), .pages = pages, .spare_only = place.spare_only, .always = place.always});
  choice.kept = place.position;
  if (id != kNoCheckpoint) persist(id, job.request.tenant);
  // Refused beyond the pins' share: then it is an ordinary one.
  if (place.pin_ttl_ms > 0 && id != kNoCheckpoint) (void)store_->pin(id, place.pin_ttl_ms, now_ms);
}

}  // namespace sluice::engine
