// One answer at a time under a constraint. Contract: files are read and constraints compiled before anything is computed; errors are sentences.
// Next: text/constraint.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/constraint_options.h"
#include "text/constraint.h"
#include "text/tokenizer.h"

namespace sluice::cli {

// One answer at a time. A prompt that ends inside <think> lets the model think first; one of a template that knows </think> leaves that to the model.
class ConstrainedAnswer {
 public:
  static Result<std::unique_ptr<ConstrainedAnswer>> create(const ConstraintOptions& options, const text::Tokenizer& tokenizer);

  Status begin(std::string_view prompt, bool can_think);
  // The tokens that must come now, whatever the model thinks; empty where it has a choice. `answer`: all tokens so far.
  std::vector<int32_t> forced(std::span<const int32_t> answer);
  // What may come next; an Error if nothing can.
  Result<std::span<const text::MaskWord>> mask();
  void accept(int32_t id);
  bool must_end() const { return state_->must_end(); }
  bool complete() const { return state_->can_end() || state_->finished(); }

 private:
  explicit ConstrainedAnswer(const text::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  const text::Tokenizer& tokenizer_;
  text::ConstraintSpec spec_;
  bool after_given_ = false;
  std::shared_ptr<const text::ConstraintVocabulary> vocabulary_;
  std::shared_ptr<const text::Constraint> constraint_;
  std::optional<text::ConstraintState> state_;
  std::vector<text::MaskWord> mask_;
};

}  // namespace sluice::cli
