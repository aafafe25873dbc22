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

}  // namespace

bool Scheduler::step() {
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
  uint32_t decoding = 0;
  for (const auto& choice : running_) decoding += choice->decoding && !choice->done ? 1 : 0;
  plan_decode();
  decode_rows_ = rows_.size();
  decoding_ = decoding;
  plan_prefill(std::min(runner_.sizes().rows_max - rows_.size(), pace_.prefill_rows(decoding)));
  // A step that was to show how long decoding alone takes, but had nothing to decode.
  if (rows_.empty() && decoding > 0) plan_prefill(runner_.sizes().rows_max);
}

// Rows for the next tokens of a choice; `wanting` of them, the last ones, want logits.
void Scheduler::add_rows(Choice& choice, uint64_t rows, uint64_t wanting) {
  SequenceSlot& slot = (*slots_)[choice.slot];
  if (const Status reserved = slots_->reserve(choice.slot, slot.read + rows); !reserved.ok()) return fail(choice, reserved.error().message);
  pieces_.push_back({&choice, rows_.size(), rows, logit_rows_, wanting});
  for (uint64_t r = 0; r < rows; ++r) {
    rows_.push_back({slot.tokens[slot.read + r], static_cast<int32_t>(slot.read + r), &slot.memory, r + wanting >= rows});
  }
  logit_rows_ += wanting;
}

void Scheduler::plan_decode() {
  const StepSizes& sizes = runner_.sizes();
  const size_t count = running_.size();
  ++turn_;
  for (size_t i = 0; i < count; ++i) {
    Choice& choice = *running_[(i + turn_) % count];
    if (choice.done || !choice.decoding || rows_.size() == sizes.rows_max || logit_rows_ == sizes.logit_rows_max) continue;
    const SequenceSlot& slot = (*slots_)[choice.slot];
    const uint64_t pending = slot.tokens.size() - slot.read;
    const uint64_t rows = std::min<uint64_t>(pending, sizes.rows_max - rows_.size());
    add_rows(choice, rows, rows == pending ? 1 : 0);
  }
}

void Scheduler::plan_prefill(uint64_t budget) {
  prefilling_.clear();
  for (const auto& choice : running_) {
    if (!choice->done && !choice->decoding) prefilling_.push_back(choice.get());
  }
  std::sort(prefilling_.begin(), prefilling_.end(), [&](const Choice* a, const Choice* b) { return before(a->job, b->job); });
  for (Choice* const choice : prefilling_) {
    const Job& job = choice->job;
    const SequenceSlot& slot = (*slots_)[choice->slot];
    const uint64_t logits_left = runner_.sizes().logit_rows_max - logit_rows_;
    uint64_t rows = std::min(slot.tokens.size() - slot.read, budget);
    if (!job.places.empty()) rows = std::min(rows, job.places.front().position - slot.read);
    if (job.needs_every_row()) rows = std::min(rows, logits_left);
    const bool to_the_end = slot.read + rows == slot.tokens.size();
    if (to_the_end && logits_left == 0 && rows > 0) --rows;
    if (rows == 0) continue;
    const bool draws = slot.read + rows == slot.tokens.size() && job.request.max_tokens > 0;
    add_rows(*choice, rows, job.needs_every_row() ? rows : draws ? 1 : 0);
    budget -= rows;
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
    pace_.saw(decoding_, decode_rows_, rows_.size() - decode_rows_, now_us() - begin);
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
  slot.read += piece.rows;
  job.account->served += piece.rows;
  while (!job.places.empty() && job.places.front().position == slot.read) {
    keep(choice, job.places.front());
    job.places.erase(job.places.begin());
  }
  if (job.request.echo_logprobs && !choice.decoding) tell_prompt_logprobs(choice, slot.read - piece.rows, piece.rows, logits_begin);
  if (slot.read < slot.tokens.size()) return;
  const std::span<const float> logits = piece.logits == 0 ? std::span<const float>() : runner_.logits(logits_begin + piece.logits - 1);
  if (choice.decoding) {
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
                                      .turn = job.resumed > job.request.system_end ? 1u : 0u, .state = slots_->state(choice.slot), .pages = pages,
                                      .always = place.always});
  choice.kept = place.position;
  if (place.pin && id != kNoCheckpoint) (void)store_->pin(id, job.request.pin_ttl_ms, now_ms);  // refused beyond the pins' share: then it is an ordinary one
}

// Row i of the step told of the token after it.
void Scheduler::tell_prompt_logprobs(Choice& choice, uint64_t position, size_t rows, size_t logits_begin) {
  Job& job = choice.job;
  const std::vector<int32_t>& prompt = job.request.prompt;
  for (size_t r = 0; r < rows && position + r + 1 < prompt.size(); ++r) {
    const DrawInput input{.logits = runner_.logits(logits_begin + r), .top_logprobs = std::max(job.request.top_logprobs, 0)};
    const Drawn told = sampler_.explain(input, prompt[position + r + 1]);
    job.sink->prompt_token(static_cast<uint32_t>(position + r + 1), told.logprob, told.top);
  }
}

// The prompt is read: its choices part here.
void Scheduler::end_of_prompt(Choice& first, std::span<const float> logits) {
  Job& job = first.job;
  job.prompt_done_us = now_us();
  first.decoding = true;
  if (job.request.embed) {
    for (const double sum : job.embedding) job.embedding_mean.push_back(static_cast<float>(sum / static_cast<double>(job.request.prompt.size())));
  }
  if (job.request.max_tokens == 0) return finish_job(job, FinishReason::kLength, "");
  const size_t first_fork = running_.size();
  while (job.started < job.request.choices) {
    const uint32_t slot = slots_->take();
    --slots_promised_;
    ++statistics_.running_sequences;
    running_.push_back(std::make_unique<Choice>(job, job.started, slot, tokenizer_));
    ++job.started;
    ++job.running;
    Choice& fork = *running_.back();
    fork.decoding = true;
    fork.kept = first.kept;
    if (const Status forked = slots_->fork(first.slot, slot); !forked.ok()) return fail(fork, forked.error().message);
  }
  draw(first, logits);
  for (size_t i = first_fork; i < running_.size(); ++i) draw(*running_[i], logits);
}

void Scheduler::draw(Choice& choice, std::span<const float> logits) {
  if (choice.done) return;
  Job& job = choice.job;
  const Request& r = job.request;
  SequenceSlot& slot = (*slots_)[choice.slot];
  DrawInput input{.logits = logits, .choice = choice.number, .position = slot.tokens.size(), .top_logprobs = r.top_logprobs};
  if (choice.constraint) {
    if (!choice.constraint->fill_mask(mask_)) return fail(choice, "the vocabulary has no token with which the constrained output could go on");
    input.mask = mask_;
  }
  const bool may_stop = choice.generated >= r.stop.min_tokens || (choice.constraint && choice.constraint->must_end());
  if (!may_stop) {
    banned_.assign(tokenizer_.end_ids().begin(), tokenizer_.end_ids().end());
    banned_.insert(banned_.end(), r.stop.ids.begin(), r.stop.ids.end());
    input.banned = banned_;
  }
  const Drawn drawn = sampler_.draw(r.sampler, input);
  if (drawn.id < 0) return finish(choice, FinishReason::kStop, -1);
  if (choice.constraint) SLUICE_CHECK(choice.constraint->accept(static_cast<uint32_t>(drawn.id)));
  const bool is_end = (!r.stop.ignore_end && tokenizer_.ends_generation(drawn.id)) || (choice.constraint && choice.constraint->finished());
  if (is_end || std::find(r.stop.ids.begin(), r.stop.ids.end(), drawn.id) != r.stop.ids.end()) return finish(choice, FinishReason::kStop, drawn.id);
  slot.tokens.push_back(drawn.id);
  ++choice.generated;
  ++job.completion_tokens;
  ++statistics_.completion_tokens;
  const bool stopped = choice.text.add(drawn.id, choice.generated >= r.stop.min_tokens);
  job.sink->token({choice.number, drawn.id, choice.text.shown(), drawn.logprob, drawn.top});
  if (stopped || (choice.constraint && choice.constraint->must_end())) return finish(choice, FinishReason::kStop, -1);
  if (choice.generated >= r.max_tokens || slot.tokens.size() >= options_.context) return finish(choice, FinishReason::kLength, -1);
}

}  // namespace sluice::engine
