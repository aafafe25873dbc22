// Compiling a spec through its front end, and the state of one sequence under a constraint.
// Contract: text/constraint.h. Masks are computed on first use and kept up to a cap. Next: text/grammar_matcher.cc, text/json_schema.cc.
#include "text/constraint.h"

#include <algorithm>

#include "text/constraint_tags.h"
#include "text/grammar_free_text.h"
#include "text/grammar_gbnf.h"
#include "text/json_schema.h"
#include "text/regex.h"
#include "text/tool_calls.h"

namespace sluice::text {
namespace {

constexpr uint32_t kStackMargin = 128;               // no token opens so many rules
constexpr uint64_t kPrecomputeStepsMax = 1'000'000;  // about 10 ms

Status build_choice(const ConstraintSpec& spec, Grammar& grammar) {
  if (spec.choices.empty()) return Error{"a choice of nothing: give at least one text"};
  grammar.root = grammar.add_rule();
  for (const std::string& choice : spec.choices) {
    for (size_t i = 0; i < choice.size();) {
      if (next_code_point(choice, i) < 0) return Error{"a choice is not valid UTF-8"};
    }
    grammar.empty(grammar.root, grammar.literal(grammar.root, kRuleStart, choice), kRuleEnd);
    SLUICE_TRY_VOID(grammar.status());
  }
  return {};
}

Status build_regex(const ConstraintSpec& spec, Grammar& grammar) {
  SLUICE_TRY(const CharDfa dfa, compile_regex(spec.text, RegexMatch::kWhole, grammar.allowance()));
  grammar.root = grammar.add_rule();
  grammar.empty(grammar.root, grammar.text(grammar.root, kRuleStart, dfa, TextForm::kRaw), kRuleEnd);
  return {};
}

Status build_object(const ConstraintSpec& spec, Grammar& grammar) {
  grammar.root = grammar.add_rule();
  grammar.call(grammar.root, kRuleStart, kRuleEnd, builtin_rules().object[static_cast<size_t>(spec.space)]);
  return {};
}

Status build_body(const ConstraintSpec& spec, Grammar& grammar) {
  switch (spec.kind) {
    case ConstraintKind::kJsonSchema: return build_json_schema(spec.text, spec.space, grammar);
    case ConstraintKind::kJsonObject: return build_object(spec, grammar);
    case ConstraintKind::kRegex: return build_regex(spec, grammar);
    case ConstraintKind::kChoice: return build_choice(spec, grammar);
    case ConstraintKind::kGrammar: return build_gbnf(spec.text, grammar);
    case ConstraintKind::kStructuralTags: return build_structural_tags(spec.text, spec.space, grammar);
    case ConstraintKind::kToolCalls: return build_tool_calls(spec.text, grammar);
  }
  return {};
}

}  // namespace

Result<Grammar> build_grammar(const ConstraintSpec& spec, Allowance& allowance) {
  uint64_t source = spec.text.size() + spec.start_after.size() + spec.start_open.size();
  for (const std::string& choice : spec.choices) source += choice.size();
  if (source > limits::kConstraintSourceBytesMax) {
    return Error{"the constraint has " + std::to_string(source) + " bytes, more than " + std::to_string(limits::kConstraintSourceBytesMax)};
  }
  Grammar grammar = grammar_with_builtins(allowance);
  SLUICE_TRY_VOID(build_body(spec, grammar));
  if (!spec.start_after.empty()) {
    SLUICE_TRY_VOID(start_after(spec.start_after, spec.start_open, grammar));
  }
  SLUICE_TRY_VOID(grammar.status());
  return grammar;
}

Result<std::shared_ptr<const Constraint>> Constraint::compile(const ConstraintSpec& spec,
                                                              std::shared_ptr<const ConstraintVocabulary> vocabulary,
                                                              ConstraintBudget budget) {
  Allowance allowance(budget);
  SLUICE_TRY(const Grammar grammar, build_grammar(spec, allowance));
  std::shared_ptr<Constraint> out(new Constraint);
  SLUICE_TRY(out->pda_, compile_grammar(grammar, allowance));
  out->vocabulary_ = std::move(vocabulary);
  out->masks_ = std::make_unique<StateMaskTable>(out->pda_.states.size());
  out->compile_steps_ = allowance.steps();
  out->precompute(std::min<uint64_t>(allowance.steps_left() / 4, kPrecomputeStepsMax));
  return std::shared_ptr<const Constraint>(std::move(out));
}

// Masks ahead of their first use, state by state while the budget lasts; the others are computed when they are needed.
void Constraint::precompute(uint64_t steps_max) {
  Matcher matcher(pda_);
  for (uint32_t s = pda_.builtin_states; s < pda_.states.size() && matcher.steps() < steps_max; ++s) {
    if (pda_.states[s].edges == 0 || masks_->bytes() > limits::kConstraintMaskBytesMax) continue;
    masks_->publish(s, matcher.compute_mask(s, *vocabulary_));
  }
}

ConstraintState::ConstraintState(std::shared_ptr<const Constraint> constraint)
    : constraint_(std::move(constraint)), matcher_(constraint_->pda()) {
  matcher_.enter(constraint_->pda().root, 0, set_);
  history_.reserve(2 * limits::kConstraintRollbackMax);
}

ConstraintState::ConstraintState(const ConstraintState& other)
    : constraint_(other.constraint_),
      matcher_(constraint_->pda()),
      set_(other.set_),
      history_(other.history_),
      past_readings_(other.past_readings_),
      finished_(other.finished_) {
  matcher_.pool() = other.matcher_.pool();
}

ConstraintState& ConstraintState::operator=(const ConstraintState& other) {
  if (this != &other) *this = ConstraintState(other);
  return *this;
}

const StateMask& ConstraintState::mask_of(uint32_t state) {
  const bool shared = constraint_->pda_.rule_shared[constraint_->pda_.states[state].rule];
  StateMaskTable& table = shared ? constraint_->vocabulary_->builtin_masks() : *constraint_->masks_;
  if (const StateMask* known = table.get(state)) return *known;
  std::unique_ptr<StateMask> fresh = matcher_.compute_mask(state, *constraint_->vocabulary_);
  if (table.bytes() > limits::kConstraintMaskBytesMax && !shared) {
    temporary_ = std::move(fresh);
    return *temporary_;
  }
  return *table.publish(state, std::move(fresh));
}

bool ConstraintState::fill_mask(std::span<MaskWord> mask) {
  const ConstraintVocabulary& vocabulary = *constraint_->vocabulary_;
  SLUICE_CHECK(mask.size() >= vocabulary.mask_words());
  std::fill(mask.begin(), mask.end(), 0);
  if (finished_) return false;
  for (const Reading& reading : set_.readings) {
    if (matcher_.pool().depth(reading.frame) + kStackMargin > limits::kConstraintStackMax) {
      matcher_.add_exact(reading, vocabulary, mask.data());
    } else {
      matcher_.add_mask(reading, mask_of(reading.state), vocabulary, mask.data());
    }
  }
  if (set_.can_end) {
    for (const uint32_t token : vocabulary.end_tokens()) mask[token / 64] |= MaskWord{1} << (token % 64);
  }
  return std::any_of(mask.begin(), mask.end(), [](MaskWord word) { return word != 0; });
}

void ConstraintState::remember(uint32_t frames) {
  constexpr uint32_t kKept = limits::kConstraintRollbackMax;
  if (history_.size() >= 2 * kKept) {  // half of the past is dropped at a time, so that dropping costs next to nothing per token
    const uint32_t gone = history_[kKept].readings_begin;
    past_readings_.erase(past_readings_.begin(), past_readings_.begin() + gone);
    history_.erase(history_.begin(), history_.begin() + kKept);
    for (Past& past : history_) past.readings_begin -= gone;
  }
  history_.push_back({static_cast<uint32_t>(past_readings_.size()), frames, set_.can_end, finished_});
  past_readings_.insert(past_readings_.end(), set_.readings.begin(), set_.readings.end());
}

bool ConstraintState::feed(std::string_view bytes) {
  next_ = set_;
  const uint32_t frames = matcher_.pool().size();
  for (const char c : bytes) {
    if (!matcher_.step(next_, static_cast<uint8_t>(c), spare_)) {
      matcher_.pool().truncate(frames);
      return false;
    }
    std::swap(next_, spare_);
  }
  return true;
}

bool ConstraintState::accept_text(std::string_view bytes) {
  if (finished_) return false;
  const uint32_t frames = matcher_.pool().size();
  if (!feed(bytes)) return false;
  remember(frames);
  std::swap(set_, next_);
  return true;
}

bool ConstraintState::accept(uint32_t token) {
  const ConstraintVocabulary& vocabulary = *constraint_->vocabulary_;
  if (finished_ || token >= vocabulary.size()) return false;
  if (vocabulary.is_end(token)) {
    if (!set_.can_end) return false;
    remember(matcher_.pool().size());
    finished_ = true;
    return true;
  }
  const std::string& bytes = vocabulary.token_bytes(token);
  return !bytes.empty() && accept_text(bytes);
}

bool ConstraintState::rollback(uint32_t tokens) {
  if (tokens > history_.size() || tokens > limits::kConstraintRollbackMax) return false;
  if (tokens == 0) return true;
  const size_t at = history_.size() - tokens;
  const Past past = history_[at];
  const uint32_t end = at + 1 < history_.size() ? history_[at + 1].readings_begin : static_cast<uint32_t>(past_readings_.size());
  set_.readings.assign(past_readings_.begin() + past.readings_begin, past_readings_.begin() + end);
  past_readings_.resize(past.readings_begin);
  set_.can_end = past.can_end;
  finished_ = past.finished;
  matcher_.pool().truncate(past.frames);
  history_.resize(at);
  return true;
}

// Appends the bytes that must come; true if after them nothing can.
bool ConstraintState::force(std::string& forced) {
  if (finished_) return true;
  const uint32_t frames = matcher_.pool().size();
  next_ = set_;
  while (!next_.can_end && forced.size() < limits::kConstraintJumpBytesMax) {
    const ByteSet bytes = matcher_.next_bytes(next_);
    int only = -1, count = 0;
    for (int w = 0; w < 4; ++w) {
      count += __builtin_popcountll(bytes.words[w]);
      if (bytes.words[w] != 0) only = w * 64 + __builtin_ctzll(bytes.words[w]);
    }
    if (count != 1 || only >= static_cast<uint8_t>(kSpecialClose)) break;
    if (!matcher_.step(next_, static_cast<uint8_t>(only), spare_)) break;
    forced.push_back(static_cast<char>(only));
    std::swap(next_, spare_);
  }
  matcher_.pool().truncate(frames);
  return next_.readings.empty();
}

std::string ConstraintState::jump_ahead() {
  std::string forced;
  force(forced);
  return forced;
}

std::vector<uint32_t> ConstraintState::jump_ahead_tokens(const Encode& encode, std::span<const uint32_t> recent) {
  std::string forced;
  const bool must_end = force(forced);
  if (forced.empty() || (forced.size() == 1 && !must_end)) return {};  // the one token that touches the end is the model's to choose
  const ConstraintVocabulary& vocabulary = *constraint_->vocabulary_;
  std::string text;
  for (const uint32_t token : recent) {
    if (token >= vocabulary.size()) return {};
    text += vocabulary.token_bytes(token);
  }
  const size_t before = text.size();
  text += forced;
  std::vector<uint32_t> tokens = encode(text);
  if (tokens.size() < recent.size() || !std::equal(recent.begin(), recent.end(), tokens.begin())) return {};
  tokens.erase(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(recent.size()));
  size_t bytes = 0;
  for (const uint32_t token : tokens) {
    if (token >= vocabulary.size()) return {};
    bytes += vocabulary.token_bytes(token).size();
  }
  if (before + bytes != text.size()) return {};
  if (!must_end) tokens.pop_back();
  return tokens;
}

}  // namespace sluice::text
