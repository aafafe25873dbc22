// Chat templates: the part of Jinja that real models' templates use, run by our own engine under budgets and with no access to the host.
// Contract: parse() and render() return an Error for anything that a template or a conversation can get wrong, never more. A ChatTemplate is
// immutable: render() is const and may run on many threads at once. Next: docs/chat-templates.md, template_parser.h, template_eval.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/limits.h"
#include "base/result.h"

namespace sluice::text {

// What one render may use. Every refusal names the limit that it met.
struct RenderLimits {
  uint64_t steps = limits::kTemplateStepsMax;
  uint64_t output_bytes = limits::kTemplateOutputBytesMax;
  uint64_t memory_bytes = limits::kTemplateMemoryBytesMax;
  uint32_t depth = limits::kTemplateDepthMax;
};

// The clock that templates see through strftime_now(); the engine never reads the host's.
struct DateTime {
  int year = 1970;
  int month = 1;  // 1..12
  int day = 1;    // 1..31
  int hour = 0;
  int minute = 0;
  int second = 0;
  int microsecond = 0;

  // Civil time of `seconds` since 1970-01-01T00:00:00Z, `offset_seconds` east of UTC.
  static DateTime from_unix(int64_t seconds, int64_t offset_seconds);
};

struct RenderOptions {
  // Without a clock, strftime_now is not defined.
  std::optional<DateTime> now;
  // Names of top-level context values that are the model's own text, not a client's: special tokens in them count as template text.
  std::vector<std::string> trusted = {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"};
  RenderLimits limits;
};

enum class Origin : uint8_t { from_template, from_input };

// A stretch [begin, end) of the rendered text. Neighbours differ in origin and together they cover the text.
struct RenderedSpan {
  size_t begin;
  size_t end;
  Origin origin;
  friend bool operator==(const RenderedSpan&, const RenderedSpan&) = default;
};

struct Rendered {
  std::string text;
  std::vector<RenderedSpan> spans;
};

class ChatTemplate {
 public:
  static Result<ChatTemplate> parse(std::string_view source);

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // `context`: messages, tools, add_generation_prompt, bos_token, eos_token and whatever else the template reads.
  Result<std::string> render(const nlohmann::ordered_json& context, const RenderOptions& options) const;

  // The same text with the origin of every byte. Special tokens may be recognised only inside spans that come from the template: text from
  // the context, however it was cut or joined, is plain text (the role names that every API knows are the one exception).
  Result<Rendered> render_parts(const nlohmann::ordered_json& context, const RenderOptions& options) const;

 private:
  struct Program;
  explicit ChatTemplate(std::unique_ptr<const Program> program);
  std::unique_ptr<const Program> program_;
};

}  // namespace sluice::text
