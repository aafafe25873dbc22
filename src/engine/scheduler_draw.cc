// What comes out of a step: logprobs of the prompt, forks, tokens, judged drafts. Part of scheduler.h.
#include <algorithm>
#include <bit>

#include "engine/ngram_draft.h"
#include "engine/scheduler_job.h"

namespace sluice::engine {
namespace {

constexpr int kJumpTokensAllowed = 16;  // a mask that allows more than these has no forced text worth looking for
constexpr size_t kJumpRecent = 8;       // tokens of the answer whose text the tokenizer must give back
constexpr double kHitLearning = 0.25;

}  // namespace

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
    count_prompt(fork);
    if (const Status forked = slots_->fork(first.slot, slot); !forked.ok()) return fail(fork, forked.error().message);
  }
  draw(first, logits);
  for (size_t i = first_fork; i < running_.size(); ++i) draw(*running_[i], logits);
}

void Scheduler::count_prompt(Choice& choice) {
  const Request& r = choice.job.request;
  if (!r.sampler.counts()) return;
  choice.counts.emplace(runner_.sizes().vocabulary, options_.context);
  choice.counts->add_prompt(r.prompt);
}

void Scheduler::draw(Choice& choice, std::span<const float> logits) {
  if (choice.done) return;
  const Request& r = choice.job.request;
  const SequenceSlot& slot = (*slots_)[choice.slot];
  DrawInput input{.logits = logits, .choice = choice.number, .position = slot.tokens.size(), .top_logprobs = r.top_logprobs,
                  .counts = choice.counts ? &*choice.counts : nullptr, .tokens = slot.tokens};
  if (end_thinking(choice, input)) return;
  if (choice.constraint) {
    if (!choice.constraint->fill_mask(mask_)) return fail(choice, "the vocabulary has no token with which the constrained output could go on");
    if (jump(choice)) return;
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
  if (choice.foreseen >= 0) choice.hit_rate += kHitLearning * ((choice.foreseen == drawn.id ? 1 : 0) - choice.hit_rate);
  choice.foreseen = -1;
  if (choice.constraint) SLUICE_CHECK(choice.constraint->accept(static_cast<uint32_t>(drawn.id)));
  const bool is_end = (!r.stop.ignore_end && tokenizer_.ends_generation(drawn.id)) || (choice.constraint && choice.constraint->finished());
  if (is_end || std::find(r.stop.ids.begin(), r.stop.ids.end(), drawn.id) != r.stop.ids.end()) return finish(choice, FinishReason::kStop, drawn.id);
  emit(choice, drawn);
}

// Where the thoughts have used up their tokens, the next one of their end is said instead of what would be drawn.
bool Scheduler::end_thinking(Choice& choice, const DrawInput& input) {
  const int32_t id = choice.thinking ? choice.thinking->forced() : -1;
  if (id < 0) return false;
  if (choice.constraint && !choice.constraint->accept(static_cast<uint32_t>(id))) {
    choice.thinking->give_up();
    return false;
  }
  choice.foreseen = -1;
  emit(choice, input.top_logprobs < 0 ? Drawn{.id = id, .logprob = {}, .top = {}} : sampler_.explain(input, id));
  return true;
}

// One more token of the answer; the choice may be done then.
void Scheduler::emit(Choice& choice, const Drawn& drawn) {
  const Request& r = choice.job.request;
  SequenceSlot& slot = (*slots_)[choice.slot];
  slot.tokens.push_back(drawn.id);
  if (choice.counts) choice.counts->add(drawn.id);
  if (choice.thinking) choice.thinking->saw(tokenizer_.token_bytes(drawn.id));
  ++choice.generated;
  ++choice.job.completion_tokens;
  ++statistics_.completion_tokens;
  const bool stopped = choice.text.add(drawn.id, choice.generated >= r.stop.min_tokens);
  choice.job.sink->token({choice.number, drawn.id, choice.text.shown(), drawn.logprob, drawn.top});
  if (stopped || (choice.constraint && choice.constraint->must_end())) return finish(choice, FinishReason::kStop, -1);
  if (choice.generated >= r.max_tokens || slot.tokens.size() >= options_.context) return finish(choice, FinishReason::kLength, -1);
}

// Where the constraint forces the text, its tokens are put in and read together in the next step. True if there were any: nothing is drawn then.
bool Scheduler::jump(Choice& choice) {
  if (choice.job.request.top_logprobs >= 0 || choice.ahead) return false;
  int allowed = 0;
  for (size_t i = 0; i < mask_.size() && allowed <= kJumpTokensAllowed; ++i) allowed += std::popcount(mask_[i]);
  if (allowed > kJumpTokensAllowed) return false;
  const std::vector<int32_t>& tokens = (*slots_)[choice.slot].tokens;
  const size_t recent_count = std::min<size_t>(choice.generated, kJumpRecent);
  const std::vector<uint32_t> recent(tokens.end() - static_cast<std::ptrdiff_t>(recent_count), tokens.end());
  const auto encode = [&](std::string_view text) {
    const Result<std::vector<int32_t>> ids = tokenizer_.encode(text, {});
    return ids.ok() ? std::vector<uint32_t>(ids->begin(), ids->end()) : std::vector<uint32_t>();
  };
  bool any = false;
  for (const uint32_t id : choice.constraint->jump_ahead_tokens(encode, recent)) {
    if (choice.constraint->finished() || !choice.constraint->accept(id)) break;
    any = true;
    emit(choice, {.id = static_cast<int32_t>(id), .logprob = {}, .top = {}});
    if (choice.done) break;
  }
  return any;
}

// Looks up what may come next and drafts as much of it as pays, at most `most` tokens.
void Scheduler::draft(Choice& choice, uint64_t most) {
  const Request& r = choice.job.request;
  const SequenceSlot& slot = (*slots_)[choice.slot];
  most = std::min({most, uint64_t{r.speculate}, r.max_tokens - choice.generated - 1, options_.context - slot.tokens.size() - 1});
  draft_by_ngram(slot.tokens, r.speculate, choice.draft);
  choice.foreseen = choice.draft.empty() ? -1 : choice.draft[0];
  if (choice.draft.empty()) return;
  most = std::min<uint64_t>(most, choice.draft.size());
  choice.draft.resize(most == 0 ? 0 : pace_.draft_rows(planned_.decoding, most, choice.hit_rate));
}

// The drafted tokens were read behind the pending one. Each row's logits are drawn from as if it had come alone; as long as the draft said the same, the
// next row is valid too. Otherwise the state goes back to where it was, and what was right is read again in the next step: the same bits.
void Scheduler::judge_draft(Choice& choice, size_t logits_begin) {
  SequenceSlot& slot = (*slots_)[choice.slot];
  const size_t drafted = choice.draft.size();
  size_t right = 0;
  choice.ahead = true;
  while (true) {
    choice.foreseen = right < drafted ? choice.draft[right] : -1;
    draw(choice, runner_.logits(logits_begin + right));
    if (choice.done || right == drafted || slot.tokens.back() != choice.draft[right]) break;
    ++right;
  }
  choice.job.drafted += drafted;
  choice.job.accepted += right;
  choice.draft.clear();
  if (choice.done) return;  // finish() has put the state back
  if (right == drafted) {
    choice.ahead = false;
    slot.read = slot.tokens.size() - 1;
  } else {
    put_back(choice);
  }
}

// The state that is ahead of what was said becomes one that is not.
void Scheduler::put_back(Choice& choice) {
  choice.ahead = false;
  SequenceSlot& slot = (*slots_)[choice.slot];
  if (runner_.sizes().state_bytes > 0) {
    slots_->take_back(choice.slot);
  } else {
    slot.read = slot.tokens.size() - 1;  // keys and values behind it are written anew
  }
}

}  // namespace sluice::engine
