// UTF-8, joining and cutting of strings with origin (template_string.h). Contract: no function here reads past a string or makes invalid
// UTF-8. Next: template_case.cc for upper and lower case.
#include "text/template_string.h"

#include <algorithm>
#include <cstring>

namespace sluice::text::jinja {

namespace {

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Length of the valid sequence at the start of `text`, or 0. RFC 3629: no surrogates, no overlong forms, at most U+10FFFF.
size_t sequence_length(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  const size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!is_continuation(text[i])) return 0;
  }
  const auto second = static_cast<unsigned char>(text[1]);
  if (first == 0xE0 && second < 0xA0) return 0;
  if (first == 0xED && second > 0x9F) return 0;
  if (first == 0xF0 && second < 0x90) return 0;
  if (first == 0xF4 && second > 0x8F) return 0;
  return length;
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    uint64_t word;
    if (text.size() - at >= sizeof(word)) {
      std::memcpy(&word, text.data() + at, sizeof(word));
      if ((word & 0x8080808080808080u) == 0) {
        at += sizeof(word);
        continue;
      }
    }
    const size_t length = sequence_length(text.substr(at));
    if (length == 0) return false;
    at += length;
  }
  return true;
}

char32_t next_char(const char*& at) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(at[i])); };
  const char32_t first = byte(0);
  if (first < 0x80) {
    at += 1;
    return first;
  }
  if (first < 0xE0) {
    const char32_t c = (first & 0x1F) << 6 | (byte(1) & 0x3F);
    at += 2;
    return c;
  }
  if (first < 0xF0) {
    const char32_t c = (first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    at += 3;
    return c;
  }
  const char32_t c = (first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  at += 4;
  return c;
}

size_t encode_char(char32_t c, char* out) {
  if (c < 0x80) {
    out[0] = static_cast<char>(c);
    return 1;
  }
  if (c < 0x800) {
    out[0] = static_cast<char>(0xC0 | c >> 6);
    out[1] = static_cast<char>(0x80 | (c & 0x3F));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = static_cast<char>(0xE0 | c >> 12);
    out[1] = static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out[2] = static_cast<char>(0x80 | (c & 0x3F));
    return 3;
  }
  out[0] = static_cast<char>(0xF0 | c >> 18);
  out[1] = static_cast<char>(0x80 | (c >> 12 & 0x3F));
  out[2] = static_cast<char>(0x80 | (c >> 6 & 0x3F));
  out[3] = static_cast<char>(0x80 | (c & 0x3F));
  return 4;
}

size_t count_chars(const Str& s) {
  if (s.chars == Str::kUncounted) {
    size_t count = 0;
    for (size_t i = 0; i < s.size; ++i) count += !is_continuation(s.data[i]);
    s.chars = count;
  }
  return s.chars;
}

size_t byte_of_char(const Str& s, size_t index) {
  if (index >= count_chars(s)) return s.size;
  if (s.chars == s.size) return index;  // all ASCII
  size_t at = 0;
  for (; index > 0; --index) {
    do ++at;
    while (is_continuation(s.data[at]));
  }
  return at;
}

bool is_python_space(char32_t c) {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

const Str* borrow_string(Heap& heap, std::string_view bytes, bool input) {
  Str* s = heap.make<Str>();
  s->data = bytes.data();
  s->size = bytes.size();
  s->input = input;
  return s;
}

const Str* copy_string(Heap& heap, std::string_view bytes, bool input) {
  char* copy = heap.bytes(bytes.size());
  if (copy == nullptr) return nullptr;
  if (!bytes.empty()) std::memcpy(copy, bytes.data(), bytes.size());
  return borrow_string(heap, {copy, bytes.size()}, input);
}

bool is_input_at(const Str& s, size_t at) {
  if (s.run_count == 0) return s.input;
  const Run* run = std::upper_bound(s.runs, s.runs + s.run_count - 1, at, [](size_t position, const Run& r) { return position < r.end; });
  return run->input;
}

namespace {

bool push_run(Heap& heap, HeapVector<Run>& runs, size_t end, bool input) {
  if (runs.size > 0 && runs.items[runs.size - 1].input == input) {
    runs.items[runs.size - 1].end = end;
    return true;
  }
  return runs.push(heap, Run{end, input});
}

// Appends the runs of `s`, shifted by `base`.
bool push_runs(Heap& heap, HeapVector<Run>& runs, const Str& s, size_t base) {
  if (s.run_count == 0) return push_run(heap, runs, base + s.size, s.input);
  for (size_t i = 0; i < s.run_count; ++i) {
    if (!push_run(heap, runs, base + std::min(s.runs[i].end, s.size), s.runs[i].input)) return false;
  }
  return true;
}

bool at_frontier(const Str& s) {
  const Growth* growth = s.growth;
  return growth != nullptr && s.data + s.size == growth->data + growth->used && (s.run_count == 0 || s.runs == growth->runs.items) &&
         s.run_count == growth->runs.size;
}

}  // namespace

const Str* join_strings(Heap& heap, const Str* a, const Str* b) {
  if (b->size == 0 && a->markup == b->markup) return a;
  if (a->size == 0 && a->markup == b->markup) return b;
  Growth* growth = at_frontier(*a) && a->growth->capacity - a->growth->used >= b->size ? a->growth : nullptr;
  Str* result = heap.make<Str>();
  if (growth == nullptr) {
    const size_t total = a->size + b->size;
    // Small strings are rarely extended again; large ones get as much room again as they take.
    const size_t capacity = a->size >= 256 ? total * 2 : total;
    if (!heap.walk_bytes(total)) return nullptr;
    char* data = heap.bytes(capacity);
    if (data == nullptr) return nullptr;
    growth = heap.make<Growth>(Growth{data, a->size, capacity, {}});
    if (a->size > 0) std::memcpy(data, a->data, a->size);
    result->data = data;
  } else {
    if (!heap.walk_bytes(b->size)) return nullptr;
    result->data = a->data;
  }
  const bool mixed = a->run_count > 0 || b->run_count > 0 || (a->size > 0 && b->size > 0 && a->input != b->input);
  if (mixed) {
    if (growth->runs.size == 0 && a->size > 0 && !push_runs(heap, growth->runs, *a, 0)) return nullptr;
    if (!push_runs(heap, growth->runs, *b, a->size)) return nullptr;
    result->runs = growth->runs.items;
    result->run_count = growth->runs.size;
  }
  if (b->size > 0) std::memcpy(growth->data + growth->used, b->data, b->size);
  growth->used += b->size;
  result->growth = growth;
  result->size = a->size + b->size;
  result->input = a->size > 0 ? a->input : b->input;
  result->markup = a->markup || b->markup;
  if (a->chars != Str::kUncounted && b->chars != Str::kUncounted) result->chars = a->chars + b->chars;
  return result;
}

const Str* substring(Heap& heap, const Str* s, size_t begin, size_t end) {
  if (begin == 0 && end == s->size) return s;
  Str* result = heap.make<Str>();
  result->markup = s->markup;
  result->input = s->input;
  if (begin >= end) return result;
  result->data = s->data + begin;
  result->size = end - begin;
  if (s->chars == s->size) result->chars = result->size;  // all ASCII
  if (s->run_count == 0) return result;
  HeapVector<Run> runs;
  for (size_t i = 0, from = 0; i < s->run_count && from < end; from = s->runs[i++].end) {
    if (s->runs[i].end <= begin) continue;
    if (!push_run(heap, runs, std::min(s->runs[i].end, end) - begin, s->runs[i].input)) return nullptr;
  }
  result->input = runs.items[0].input;
  if (runs.size > 1) {
    result->runs = runs.items;
    result->run_count = runs.size;
  }
  return result;
}

const Str* strip_string(Heap& heap, const Str* s, const Str* chars, bool left, bool right) {
  const auto strips = [&](const char* at) {
    const char* end = at;
    const char32_t c = next_char(end);
    if (chars == nullptr) return is_python_space(c);
    return chars->view().find(std::string_view(at, static_cast<size_t>(end - at))) != std::string_view::npos;
  };
  size_t begin = 0;
  size_t end = s->size;
  while (left && begin < end && strips(s->data + begin)) {
    do ++begin;
    while (begin < end && is_continuation(s->data[begin]));
  }
  while (right && begin < end) {
    size_t last = end - 1;
    while (is_continuation(s->data[last])) --last;
    if (!strips(s->data + last)) break;
    end = last;
  }
  const size_t walked = s->size - (end - begin) + 1;
  if (!heap.walk_bytes(walked * (chars == nullptr ? 1 : chars->size + 1))) return nullptr;
  return substring(heap, s, begin, end);
}

void Builder::append(std::string_view bytes, bool input) {
  if (bytes.empty() || !heap_.hold(bytes.size())) return;
  bytes_.append(bytes);
  if (!runs_.empty() && runs_.back().input == input) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back({bytes_.size(), input});
  }
}

void Builder::append(const Str& s, size_t begin, size_t end) {
  if (s.run_count == 0) {
    append(s.view().substr(begin, end - begin), s.input);
    return;
  }
  size_t from = 0;
  for (size_t i = 0; i < s.run_count && from < end; ++i) {
    const size_t to = std::min(s.runs[i].end, end);
    if (to > begin) append(std::string_view(s.data + std::max(from, begin), s.data + to), s.runs[i].input);
    from = s.runs[i].end;
  }
}

void Builder::append_char(char32_t c, bool input) {
  char buffer[4];
  append({buffer, encode_char(c, buffer)}, input);
}

const Str* Builder::finish() {
  const Str* copy = copy_string(heap_, bytes_, !runs_.empty() && runs_[0].input);
  if (copy == nullptr || runs_.size() < 2) return copy;
  Run* runs = heap_.array<Run>(runs_.size());
  if (runs == nullptr) return nullptr;
  std::copy(runs_.begin(), runs_.end(), runs);
  Str* result = heap_.make<Str>(*copy);
  result->runs = runs;
  result->run_count = runs_.size();
  return result;
}

}  // namespace sluice::text::jinja
