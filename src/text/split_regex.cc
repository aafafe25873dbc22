// PCRE2 with hard limits: an expression from a file must not be able to take the stack, the memory or the afternoon.
// Contract: text/split_regex.h.
// Next: text/split_regex_test.cc.
#include "text/split_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>

#include "base/limits.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

// PCRE2's \s also holds U+180E; Oniguruma's is White_Space.
constexpr std::string_view kSpaceClass =
    R"(\t-\r\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

// PCRE2 10.42's \w leaves out marks and connectors other than the underscore.
constexpr std::string_view kWordClass = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

std::string translate(std::string_view expression) {
  std::string out;
  int class_depth = 0;
  for (size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    if (c == '\\' && i + 1 < expression.size()) {
      const char next = expression[++i];
      if (next == 's') {
        out += class_depth > 0 ? std::string(kSpaceClass) : fmt::format("[{}]", kSpaceClass);
      } else if (next == 'S' && class_depth == 0) {
        out += fmt::format("[^{}]", kSpaceClass);
      } else if (next == 'w') {
        out += class_depth > 0 ? std::string(kWordClass) : fmt::format("[{}]", kWordClass);
      } else if (next == 'W' && class_depth == 0) {
        out += fmt::format("[^{}]", kWordClass);
      } else if (next == 'h') {
        out += class_depth > 0 ? "0-9A-Fa-f" : "[0-9A-Fa-f]";
      } else {
        out += c;
        out += next;
      }
      continue;
    }
    if (c == '[' && class_depth == 0) {
      class_depth = 1;
      out += c;
      // A ']' right after '[' or '[^' is literal.
      if (i + 1 < expression.size() && expression[i + 1] == '^') out += expression[++i];
      if (i + 1 < expression.size() && expression[i + 1] == ']') {
        out += "\\]";
        ++i;
      }
      continue;
    }
    if (c == ']' && class_depth == 1) class_depth = 0;
    out += c;
  }
  return out;
}

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  if (pcre2_get_error_message(code, buffer, sizeof buffer) < 0) return fmt::format("PCRE2 error {}", code);
  return reinterpret_cast<const char*>(buffer);
}

struct FreeMatchData {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};
struct FreeJitStack {
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
};

}  // namespace

struct SplitRegex::Code {
  pcre2_code* code = nullptr;
  std::string expression;
  ~Code() { pcre2_code_free(code); }
};

Result<SplitRegex> SplitRegex::compile(std::string_view expression) {
  if (expression.size() > limits::kExpressionBytesMax) {
    return Error{fmt::format("expression of {} bytes, limit {}", expression.size(), limits::kExpressionBytesMax)};
  }
  // Character class intersections of Oniguruma mean something else to PCRE2: refuse them, rather than cut in other
  // places.
  if (expression.find("&&") != std::string_view::npos)
    return Error{fmt::format("expression '{}' intersects classes (&&): not supported", shown(expression))};
  const std::string translated = translate(expression);
  auto code = std::make_shared<Code>();
  code->expression = expression;
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  if (context == nullptr) return Error{"out of memory for an expression"};
  pcre2_set_parens_nest_limit(context, 64);
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &at, context);
  pcre2_compile_context_free(context);
  if (code->code == nullptr)
    return Error{fmt::format("expression '{}': {} at byte {}", shown(expression), pcre2_message(error), at)};
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);  // without machine code the interpreter runs: slower, same result
  return SplitRegex(std::move(code));
}

namespace {

// The end of the run of valid (or of invalid) characters that begins at `at`.
size_t stretch_end(std::string_view text, size_t at, bool valid) {
  while (at < text.size()) {
    const Utf8Char c = decode_utf8(text, at);
    if (c.valid != valid) break;
    at += c.bytes;
  }
  return at;
}

}  // namespace

Status SplitRegex::find_all(std::string_view text, std::vector<ByteRange>& matches) const {
  const std::unique_ptr<pcre2_match_data, FreeMatchData> data(pcre2_match_data_create(1, nullptr));
  const std::unique_ptr<pcre2_match_context, FreeMatchContext> context(pcre2_match_context_create(nullptr));
  std::unique_ptr<pcre2_jit_stack, FreeJitStack> stack;  // only if the 32 KiB of the default do not suffice
  if (!data || !context) return Error{"out of memory for an expression"};
  pcre2_set_match_limit(context.get(), 10'000'000);
  pcre2_set_heap_limit(context.get(), 64 * 1024);  // KiB
  pcre2_set_depth_limit(context.get(), 1'000'000);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = stretch_end(text, begin, true);
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data()) + begin;
    for (size_t at = 0; at < end - begin;) {
      const int count =
          pcre2_match(code_->code, subject, end - begin, at, PCRE2_NO_UTF_CHECK, data.get(), context.get());
      if (count == PCRE2_ERROR_NOMATCH) break;
      if (count == PCRE2_ERROR_JIT_STACKLIMIT && !stack) {
        stack.reset(pcre2_jit_stack_create(32 * 1024, 4 * 1024 * 1024, nullptr));
        if (!stack) return Error{"out of memory for an expression"};
        pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
        continue;
      }
      if (count < 0) {
        return Error{fmt::format("expression '{}' gave up at byte {} of {}: {}", shown(code_->expression), begin + at,
                                 text.size(), pcre2_message(count))};
      }
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
      if (range[1] > range[0] && range[0] >= at) {
        matches.push_back({begin + range[0], begin + range[1]});
        at = range[1];
      } else {
        at = std::max<size_t>(at, range[0]);
        if (begin + at < end) at += decode_utf8(text, begin + at).bytes;
      }
    }
    begin = stretch_end(text, end, false);
  }
  return {};
}

}  // namespace sluice::text
