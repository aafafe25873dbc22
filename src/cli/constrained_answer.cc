#include "cli/constrained_answer.h"

#include <algorithm>

#include "base/limits.h"
#include "platform/file.h"

namespace sluice::cli {
namespace {

constexpr size_t kRecentTokens = 8;  // whose text the tokenizer must give back before forced text may follow

constexpr std::string_view kThinkOpen = "<think>", kThinkClose = "</think>";

Result<text::ConstraintSpec> read_constraint(const ConstraintOptions& options) {
  text::ConstraintSpec spec;
  spec.start_after = options.after;
  if (!options.schema_file.empty()) {
    spec.kind = text::ConstraintKind::kJsonSchema;
    SLUICE_TRY(spec.text, platform::read_whole_file(options.schema_file, limits::kConstraintSourceBytesMax));
  } else if (!options.grammar_file.empty()) {
    spec.kind = text::ConstraintKind::kGrammar;
    SLUICE_TRY(spec.text, platform::read_whole_file(options.grammar_file, limits::kConstraintSourceBytesMax));
  } else if (!options.regex.empty()) {
    spec.kind = text::ConstraintKind::kRegex;
    spec.text = options.regex;
  } else {
    spec.kind = text::ConstraintKind::kChoice;
    spec.choices = options.choices;
  }
  return spec;
}

}  // namespace

Result<std::unique_ptr<ConstrainedAnswer>> ConstrainedAnswer::create(const ConstraintOptions& options, const text::Tokenizer& tokenizer) {
  std::unique_ptr<ConstrainedAnswer> out(new ConstrainedAnswer(tokenizer));
  SLUICE_TRY(out->spec_, read_constraint(options));
  out->after_given_ = !options.after.empty();
  SLUICE_TRY(out->vocabulary_, text::ConstraintVocabulary::of(tokenizer, tokenizer.vocabulary_size()));
  out->mask_.resize(out->vocabulary_->mask_words());
  SLUICE_TRY(out->constraint_, text::Constraint::compile(out->spec_, out->vocabulary_, {}));
  return out;
}

Status ConstrainedAnswer::begin(std::string_view prompt, bool can_think) {
  while (!prompt.empty() && (prompt.back() == '\n' || prompt.back() == ' ')) prompt.remove_suffix(1);
  const bool thinks = prompt.ends_with(kThinkOpen), may_think = !thinks && can_think && !prompt.ends_with(kThinkClose);
  const std::string_view after = thinks || may_think ? kThinkClose : "", open = may_think ? kThinkOpen : "";
  if (!after_given_ && (spec_.start_after != after || spec_.start_open != open)) {
    spec_.start_after = after;
    spec_.start_open = open;
    SLUICE_TRY(constraint_, text::Constraint::compile(spec_, vocabulary_, {}));
  }
  state_.emplace(constraint_);
  return {};
}

std::vector<int32_t> ConstrainedAnswer::forced(std::span<const int32_t> answer) {
  const std::span<const int32_t> last = answer.last(std::min(answer.size(), kRecentTokens));
  const std::vector<uint32_t> recent(last.begin(), last.end());
  const auto encode = [&](std::string_view text) {
    const Result<std::vector<int32_t>> ids = tokenizer_.encode(text, {});
    return ids.ok() ? std::vector<uint32_t>(ids->begin(), ids->end()) : std::vector<uint32_t>();
  };
  const std::vector<uint32_t> tokens = state_->jump_ahead_tokens(encode, recent);
  return {tokens.begin(), tokens.end()};
}

Result<std::span<const text::MaskWord>> ConstrainedAnswer::mask() {
  if (!state_->fill_mask(mask_)) return Error{"the vocabulary has no token with which the constrained answer could go on"};
  return std::span<const text::MaskWord>(mask_);
}

void ConstrainedAnswer::accept(int32_t id) { SLUICE_CHECK(state_->accept(static_cast<uint32_t>(id))); }

}  // namespace sluice::cli
