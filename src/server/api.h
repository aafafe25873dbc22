// The one model that a server serves, and everything that its routes need to turn requests into the engine's: template, tokenizer, constraints, names.
// Contract: const after create(); members may be used from any thread. Next: prompt.h, generation_fields.h, answer.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/admission.h"
#include "server/api_error.h"
#include "server/backend.h"
#include "text/chat_template.h"
#include "text/constraint.h"
#include "text/tokenizer.h"
#include "text/tool_calls.h"

namespace sluice::server {

struct ModelFacts {
  std::string id;                      // what clients call it: "sluice-jamba"
  std::vector<std::string> aliases;    // "*": any name is this model
  std::string owner = "sluice";
  std::string fingerprint;             // system_fingerprint: build, model and number rules
  int64_t created = 0;                 // seconds since 1970
  uint32_t max_tokens_default = 0;     // 0: as many as the context holds
  engine::SamplerOptions sampler;      // where a request says nothing
};

// How the model writes its thoughts, read off its template.
struct Thinking {
  std::string open, close;             // "<think>", "</think>"; empty: it does not
  std::vector<std::string> around;     // marks around the text of an answer, no part of it
  bool can() const { return !open.empty(); }
};

class Api {
 public:
  static Result<std::unique_ptr<Api>> create(Backend& backend, Gate& gate, const text::Tokenizer& tokenizer, ModelFacts facts);

  Backend& backend() const { return backend_; }
  Gate& gate() const { return gate_; }
  const text::Tokenizer& tokenizer() const { return tokenizer_; }
  const ModelFacts& facts() const { return facts_; }
  const text::ChatTemplate* chat_template() const { return template_ ? &*template_ : nullptr; }
  const std::string& template_text() const { return template_text_; }
  const text::ToolFormat* tool_format() const { return tool_format_; }
  const Thinking& thinking() const { return thinking_; }
  // Do marks of thinking or calls live in tokens that print nothing unless asked?
  bool marks_are_special() const { return marks_are_special_; }
  text::ConstraintCache& constraints() const { return *constraints_; }
  uint64_t context() const { return backend_.options().context; }

  // 404 with the names there are.
  Refused check_model(std::string_view name) const;
  // Bytes of a token for logprobs, and its text with U+FFFD for what is not UTF-8.
  std::string_view token_bytes(int32_t id) const { return tokenizer_.token_bytes(id); }

  int64_t now_unix() const;            // seconds since 1970

 private:
  Api(Backend& backend, Gate& gate, const text::Tokenizer& tokenizer, ModelFacts facts)
      : backend_(backend), gate_(gate), tokenizer_(tokenizer), facts_(std::move(facts)) {}

  Backend& backend_;
  Gate& gate_;
  const text::Tokenizer& tokenizer_;
  ModelFacts facts_;
  std::string template_text_;
  std::optional<text::ChatTemplate> template_;
  const text::ToolFormat* tool_format_ = nullptr;
  Thinking thinking_;
  bool marks_are_special_ = false;
  std::unique_ptr<text::ConstraintCache> constraints_;
};

}  // namespace sluice::server
