// Output that obeys: a JSON Schema, a regular expression, a choice, a grammar, structural tags or any JSON object, compiled once and
// enforced token by token. Contract: Constraint is immutable and shared between threads; ConstraintState belongs to one sequence, copying
// it forks it. What the mask allows can always be finished, given a vocabulary with all single bytes. What is not supported is refused by
// name, never ignored. Next: docs/constraints.md for what each kind accepts; text/grammar.h for how it works.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/constraint_budget.h"
#include "text/constraint_vocabulary.h"
#include "text/grammar_matcher.h"

namespace sluice::text {

enum class ConstraintKind : uint8_t {
  kJsonSchema,      // text: the schema
  kJsonObject,      // any JSON object
  kRegex,           // text: the pattern; it describes the whole output
  kChoice,          // choices: one of these
  kGrammar,         // text: rules as llama.cpp writes them (GBNF)
  kStructuralTags,  // text: JSON, see text/constraint_tags.h
  kToolCalls,       // text: of tool_calls_text() in text/tool_calls.h
};

struct ConstraintSpec {
  ConstraintKind kind = ConstraintKind::kJsonObject;
  std::string text;
  std::vector<std::string> choices;
  JsonSpace space = JsonSpace::kCompact;
  // Not empty: anything goes until this text (or the special token of that name) has been read, e.g. "</think>"; then the constraint
  // begins, after white space.
  std::string start_after;
  // With start_after, not empty: only an output that begins with this text (or special token), e.g. "<think>", may go on freely until
  // start_after; any other is constrained from its beginning.
  std::string start_open;

  bool operator==(const ConstraintSpec&) const = default;
};

class Constraint {
 public:
  static Result<std::shared_ptr<const Constraint>> compile(const ConstraintSpec& spec,
                                                           std::shared_ptr<const ConstraintVocabulary> vocabulary, ConstraintBudget budget);

  const Pda& pda() const { return pda_; }
  const ConstraintVocabulary& vocabulary() const { return *vocabulary_; }
  // Everything this object holds, masks that were computed since included; the vocabulary's share is not.
  uint64_t bytes() const { return sizeof(*this) + pda_.bytes() + masks_->bytes(); }
  uint64_t compile_steps() const { return compile_steps_; }

 private:
  friend class ConstraintState;
  Constraint() = default;
  void precompute(uint64_t steps_max);

  std::shared_ptr<const ConstraintVocabulary> vocabulary_;
  Pda pda_;
  std::unique_ptr<StateMaskTable> masks_;
  uint64_t compile_steps_ = 0;
};

// The grammar of a spec, before any vocabulary: what compile() starts from.
Result<Grammar> build_grammar(const ConstraintSpec& spec, Allowance& allowance);

class ConstraintState {
 public:
  explicit ConstraintState(std::shared_ptr<const Constraint> constraint);
  ConstraintState(const ConstraintState& other);
  ConstraintState& operator=(const ConstraintState& other);
  ConstraintState(ConstraintState&&) = default;
  ConstraintState& operator=(ConstraintState&&) = default;

  // Sets exactly the bits of the tokens that may come next; a longer mask (a model may have more logits than its tokenizer has tokens) is
  // cleared behind them. False: there is none, which a vocabulary without some bytes can cause.
  bool fill_mask(std::span<MaskWord> mask);
  // False, and nothing changes, if the token is not allowed here.
  bool accept(uint32_t token);
  // The same for bytes instead of a token; one rollback step.
  bool accept_text(std::string_view bytes);
  // May the output end here? And has it ended, by an end token?
  bool can_end() const { return !finished_ && set_.can_end; }
  bool finished() const { return finished_; }
  // Nothing but an end token can come.
  bool must_end() const { return !finished_ && set_.readings.empty(); }
  // Takes back the last `tokens` accepts; false, and nothing changes, beyond limits::kConstraintRollbackMax or the start.
  bool rollback(uint32_t tokens);
  uint32_t rollback_possible() const { return static_cast<uint32_t>(history_.size()); }

  // The bytes that must come next, whatever the model thinks; empty where there is a choice.
  std::string jump_ahead();
  // The tokens to insert for them: those that `encode` would have chosen. `recent` are the last tokens of the output, whose text `encode`
  // must give back as the same tokens; the token that touches the end of the forced bytes is left to the model unless the output must end
  // there. Does not change the state.
  using Encode = std::function<std::vector<uint32_t>(std::string_view)>;
  std::vector<uint32_t> jump_ahead_tokens(const Encode& encode, std::span<const uint32_t> recent);

 private:
  struct Past {
    uint32_t readings_begin;  // into past_readings_, up to the next one's
    uint32_t frames;
    bool can_end, finished;
  };
  const StateMask& mask_of(uint32_t state);
  void remember(uint32_t frames);
  bool feed(std::string_view bytes);
  bool force(std::string& forced);

  std::shared_ptr<const Constraint> constraint_;
  Matcher matcher_;
  ReadingSet set_, next_, spare_;
  std::vector<Past> history_;  // oldest first
  std::vector<Reading> past_readings_;
  std::unique_ptr<StateMask> temporary_;
  bool finished_ = false;
};

// Compiled constraints by spec, least recently used first out, under a cap in bytes. Thread-safe.
class ConstraintCache {
 public:
  ConstraintCache(std::shared_ptr<const ConstraintVocabulary> vocabulary, uint64_t bytes_max, ConstraintBudget budget);
  ~ConstraintCache();
  Result<std::shared_ptr<const Constraint>> get(const ConstraintSpec& spec);
  uint64_t bytes() const;
  size_t size() const;

 private:
  struct Inner;
  std::unique_ptr<Inner> inner_;
};

}  // namespace sluice::text
