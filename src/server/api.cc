#include "server/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "text/utf8.h"

namespace sluice::server {
namespace {

constexpr uint64_t kConstraintCacheBytes = 256ull << 20;

Result<std::shared_ptr<const text::ConstraintVocabulary>> vocabulary_of(const text::Tokenizer& tokenizer) {
  const size_t n = tokenizer.vocabulary_size();
  std::vector<std::string> bytes(n);
  std::vector<uint8_t> special(n, 0);
  for (size_t i = 0; i < n; ++i) {
    const auto id = static_cast<int32_t>(i);
    if (tokenizer.type(id) == text::TokenType::kUnused || tokenizer.type(id) == text::TokenType::kUnknown) continue;
    bytes[i] = tokenizer.token_bytes(id);
    special[i] = tokenizer.is_control(id) ? 1 : 0;
  }
  std::vector<uint32_t> ends(tokenizer.end_ids().begin(), tokenizer.end_ids().end());
  return text::ConstraintVocabulary::create(bytes, ends, special);
}

bool has_special(const text::Tokenizer& tokenizer, std::string_view marks) {
  for (size_t i = 0; i < tokenizer.vocabulary_size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (tokenizer.is_control(id) && tokenizer.token_bytes(id).size() > 2 && marks.find(tokenizer.token_bytes(id)) != std::string_view::npos) return true;
  }
  return false;
}

// By the end of the thoughts: some templates do not write their beginning.
Thinking thinking_of(std::string_view chat_template) {
  static const Thinking kKnown[] = {
      {"<think>", "</think>", {}},  // Qwen 3, DeepSeek R1 and most others
      {"<seed:think>", "</seed:think>", {}},
      {"<|START_THINKING|>", "<|END_THINKING|>", {"<|START_TEXT|>", "<|END_TEXT|>"}},  // Cohere
      {"Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", {"[END FINAL RESPONSE]"}},  // Apriel
  };
  for (const Thinking& known : kKnown) {
    if (chat_template.find(known.close) != std::string_view::npos) return known;
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Api>> Api::create(Backend& backend, Gate& gate, const text::Tokenizer& tokenizer, ModelFacts facts) {
  std::unique_ptr<Api> api(new Api(backend, gate, tokenizer, std::move(facts)));
  for (const auto& named : tokenizer.spec().chat_templates) {
    if (named.name != "default") continue;
    SLUICE_TRY(text::ChatTemplate parsed, text::ChatTemplate::parse(named.text));
    api->template_.emplace(std::move(parsed));
    api->template_text_ = named.text;
  }
  api->tool_format_ = text::detect_tool_format(api->template_text_);
  api->thinking_ = thinking_of(api->template_text_);
  std::string marks = api->thinking_.open + api->thinking_.close;
  if (const text::ToolFormat* f = api->tool_format_) {
    for (const std::string_view piece : {f->section_begin, f->call_begin, f->before_arguments, f->call_end, f->separator, f->section_end}) marks += piece;
  }
  api->marks_are_special_ = has_special(tokenizer, marks);
  SLUICE_TRY(auto vocabulary, vocabulary_of(tokenizer));
  api->constraints_ = std::make_unique<text::ConstraintCache>(std::move(vocabulary), kConstraintCacheBytes, text::ConstraintBudget{});
  return api;
}

Refused Api::check_model(std::string_view name) const {
  const auto& aliases = facts_.aliases;
  if (name == facts_.id || std::find(aliases.begin(), aliases.end(), name) != aliases.end()) return {};
  if (std::find(aliases.begin(), aliases.end(), "*") != aliases.end()) return {};
  return ApiError{.status = 404, .code = "model_not_found", .param = "model",
                  .message = fmt::format("there is no model '{}' here; this server has '{}'", text::shown(name), facts_.id)};
}

int64_t Api::now_unix() const {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace sluice::server
