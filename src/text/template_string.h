// Strings that know where their bytes came from. Every byte is either the template's or the context's ("input"); joining, cutting and
// mapping keep that, so that the tokenizer can refuse special tokens in user text (reliability K10).
// Contract: a Str is immutable valid UTF-8; lengths and positions that templates see are code points. Next: template_value.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/template_heap.h"

namespace sluice::text::jinja {

// Bytes from the previous run's end to `end` have one origin. The last run may end past the string: readers clamp.
struct Run {
  size_t end;
  bool input;
};

// Spare room behind the string that was last joined: `s = s + x` in a loop appends in place instead of copying.
struct Growth {
  char* data;
  size_t used;
  size_t capacity;
  HeapVector<Run> runs;
};

struct Str {
  static constexpr size_t kUncounted = SIZE_MAX;

  const char* data = "";
  size_t size = 0;
  const Run* runs = nullptr;  // only when the origins are mixed
  size_t run_count = 0;
  Growth* growth = nullptr;
  mutable size_t chars = kUncounted;  // code points, counted when first asked for
  bool input = false;                 // the origin when there are no runs
  bool markup = false;                // made by |safe or |escape

  std::string_view view() const { return {data, size}; }
  bool empty() const { return size == 0; }
};

bool is_valid_utf8(std::string_view text);
// The code point at `at`, which moves past it. Valid UTF-8 only.
char32_t next_char(const char*& at);
size_t encode_char(char32_t c, char* out);  // at most 4 bytes
size_t count_chars(const Str& s);
// Byte position of code point `index` (clamped to the end).
size_t byte_of_char(const Str& s, size_t index);
bool is_python_space(char32_t c);

// A header over bytes that outlive the render.
const Str* borrow_string(Heap& heap, std::string_view bytes, bool input);
// These return nullptr when the budget is spent.
const Str* copy_string(Heap& heap, std::string_view bytes, bool input);
const Str* join_strings(Heap& heap, const Str* a, const Str* b);
const Str* substring(Heap& heap, const Str* s, size_t begin, size_t end);
const Str* strip_string(Heap& heap, const Str* s, const Str* chars, bool left, bool right);  // chars nullptr: Python's white space

enum class Case : uint8_t { upper, lower, title, capitalize, swap };
const Str* change_case(Heap& heap, const Str* s, Case mode);

// The origin of the byte at `at`.
bool is_input_at(const Str& s, size_t at);

// Collects a string piece by piece. When the budget is spent it drops what follows; finish() then returns nullptr.
class Builder {
 public:
  explicit Builder(Heap& heap) : heap_(heap) {}
  ~Builder() { heap_.release(bytes_.size()); }
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  void append(std::string_view bytes, bool input);
  void append(const Str& s) { append(s, 0, s.size); }
  void append(const Str& s, size_t begin, size_t end);
  void append_char(char32_t c, bool input);

  size_t size() const { return bytes_.size(); }
  const std::string& bytes() const { return bytes_; }
  const std::vector<Run>& runs() const { return runs_; }
  const Str* finish();

 private:
  Heap& heap_;
  std::string bytes_;
  std::vector<Run> runs_;
};

}  // namespace sluice::text::jinja
