// Upper, lower and title case as Python's str does them: Unicode's simple mappings from utf8proc, plus the unconditional full mappings of
// SpecialCasing.txt (Unicode 14; one character becomes two or three) and the final sigma. Contract: origins follow their characters.
// Next: template_string.h.
#include <algorithm>
#include <iterator>

#include <utf8proc.h>

#include "text/template_string.h"

namespace sluice::text::jinja {

namespace {

struct FullMapping {
  char32_t from;
  const char* upper;
  const char* title;  // nullptr: the simple mapping
};

// Sorted by `from`.
constexpr FullMapping kFullMappings[] = {
    {0x00DF, "\x53\x53", "\x53\x73"},
    {0x0149, "\xCA\xBC\x4E", "\xCA\xBC\x4E"},
    {0x01F0, "\x4A\xCC\x8C", "\x4A\xCC\x8C"},
    {0x0390, "\xCE\x99\xCC\x88\xCC\x81", "\xCE\x99\xCC\x88\xCC\x81"},
    {0x03B0, "\xCE\xA5\xCC\x88\xCC\x81", "\xCE\xA5\xCC\x88\xCC\x81"},
    {0x0587, "\xD4\xB5\xD5\x92", "\xD4\xB5\xD6\x82"},
    {0x1E96, "\x48\xCC\xB1", "\x48\xCC\xB1"},
    {0x1E97, "\x54\xCC\x88", "\x54\xCC\x88"},
    {0x1E98, "\x57\xCC\x8A", "\x57\xCC\x8A"},
    {0x1E99, "\x59\xCC\x8A", "\x59\xCC\x8A"},
    {0x1E9A, "\x41\xCA\xBE", "\x41\xCA\xBE"},
    {0x1F50, "\xCE\xA5\xCC\x93", "\xCE\xA5\xCC\x93"},
    {0x1F52, "\xCE\xA5\xCC\x93\xCC\x80", "\xCE\xA5\xCC\x93\xCC\x80"},
    {0x1F54, "\xCE\xA5\xCC\x93\xCC\x81", "\xCE\xA5\xCC\x93\xCC\x81"},
    {0x1F56, "\xCE\xA5\xCC\x93\xCD\x82", "\xCE\xA5\xCC\x93\xCD\x82"},
    {0x1F80, "\xE1\xBC\x88\xCE\x99", nullptr},
    {0x1F81, "\xE1\xBC\x89\xCE\x99", nullptr},
    {0x1F82, "\xE1\xBC\x8A\xCE\x99", nullptr},
    {0x1F83, "\xE1\xBC\x8B\xCE\x99", nullptr},
    {0x1F84, "\xE1\xBC\x8C\xCE\x99", nullptr},
    {0x1F85, "\xE1\xBC\x8D\xCE\x99", nullptr},
    {0x1F86, "\xE1\xBC\x8E\xCE\x99", nullptr},
    {0x1F87, "\xE1\xBC\x8F\xCE\x99", nullptr},
    {0x1F88, "\xE1\xBC\x88\xCE\x99", nullptr},
    {0x1F89, "\xE1\xBC\x89\xCE\x99", nullptr},
    {0x1F8A, "\xE1\xBC\x8A\xCE\x99", nullptr},
    {0x1F8B, "\xE1\xBC\x8B\xCE\x99", nullptr},
    {0x1F8C, "\xE1\xBC\x8C\xCE\x99", nullptr},
    {0x1F8D, "\xE1\xBC\x8D\xCE\x99", nullptr},
    {0x1F8E, "\xE1\xBC\x8E\xCE\x99", nullptr},
    {0x1F8F, "\xE1\xBC\x8F\xCE\x99", nullptr},
    {0x1F90, "\xE1\xBC\xA8\xCE\x99", nullptr},
    {0x1F91, "\xE1\xBC\xA9\xCE\x99", nullptr},
    {0x1F92, "\xE1\xBC\xAA\xCE\x99", nullptr},
    {0x1F93, "\xE1\xBC\xAB\xCE\x99", nullptr},
    {0x1F94, "\xE1\xBC\xAC\xCE\x99", nullptr},
    {0x1F95, "\xE1\xBC\xAD\xCE\x99", nullptr},
    {0x1F96, "\xE1\xBC\xAE\xCE\x99", nullptr},
    {0x1F97, "\xE1\xBC\xAF\xCE\x99", nullptr},
    {0x1F98, "\xE1\xBC\xA8\xCE\x99", nullptr},
    {0x1F99, "\xE1\xBC\xA9\xCE\x99", nullptr},
    {0x1F9A, "\xE1\xBC\xAA\xCE\x99", nullptr},
    {0x1F9B, "\xE1\xBC\xAB\xCE\x99", nullptr},
    {0x1F9C, "\xE1\xBC\xAC\xCE\x99", nullptr},
    {0x1F9D, "\xE1\xBC\xAD\xCE\x99", nullptr},
    {0x1F9E, "\xE1\xBC\xAE\xCE\x99", nullptr},
    {0x1F9F, "\xE1\xBC\xAF\xCE\x99", nullptr},
    {0x1FA0, "\xE1\xBD\xA8\xCE\x99", nullptr},
    {0x1FA1, "\xE1\xBD\xA9\xCE\x99", nullptr},
    {0x1FA2, "\xE1\xBD\xAA\xCE\x99", nullptr},
    {0x1FA3, "\xE1\xBD\xAB\xCE\x99", nullptr},
    {0x1FA4, "\xE1\xBD\xAC\xCE\x99", nullptr},
    {0x1FA5, "\xE1\xBD\xAD\xCE\x99", nullptr},
    {0x1FA6, "\xE1\xBD\xAE\xCE\x99", nullptr},
    {0x1FA7, "\xE1\xBD\xAF\xCE\x99", nullptr},
    {0x1FA8, "\xE1\xBD\xA8\xCE\x99", nullptr},
    {0x1FA9, "\xE1\xBD\xA9\xCE\x99", nullptr},
    {0x1FAA, "\xE1\xBD\xAA\xCE\x99", nullptr},
    {0x1FAB, "\xE1\xBD\xAB\xCE\x99", nullptr},
    {0x1FAC, "\xE1\xBD\xAC\xCE\x99", nullptr},
    {0x1FAD, "\xE1\xBD\xAD\xCE\x99", nullptr},
    {0x1FAE, "\xE1\xBD\xAE\xCE\x99", nullptr},
    {0x1FAF, "\xE1\xBD\xAF\xCE\x99", nullptr},
    {0x1FB2, "\xE1\xBE\xBA\xCE\x99", "\xE1\xBE\xBA\xCD\x85"},
    {0x1FB3, "\xCE\x91\xCE\x99", nullptr},
    {0x1FB4, "\xCE\x86\xCE\x99", "\xCE\x86\xCD\x85"},
    {0x1FB6, "\xCE\x91\xCD\x82", "\xCE\x91\xCD\x82"},
    {0x1FB7, "\xCE\x91\xCD\x82\xCE\x99", "\xCE\x91\xCD\x82\xCD\x85"},
    {0x1FBC, "\xCE\x91\xCE\x99", nullptr},
    {0x1FC2, "\xE1\xBF\x8A\xCE\x99", "\xE1\xBF\x8A\xCD\x85"},
    {0x1FC3, "\xCE\x97\xCE\x99", nullptr},
    {0x1FC4, "\xCE\x89\xCE\x99", "\xCE\x89\xCD\x85"},
    {0x1FC6, "\xCE\x97\xCD\x82", "\xCE\x97\xCD\x82"},
    {0x1FC7, "\xCE\x97\xCD\x82\xCE\x99", "\xCE\x97\xCD\x82\xCD\x85"},
    {0x1FCC, "\xCE\x97\xCE\x99", nullptr},
    {0x1FD2, "\xCE\x99\xCC\x88\xCC\x80", "\xCE\x99\xCC\x88\xCC\x80"},
    {0x1FD3, "\xCE\x99\xCC\x88\xCC\x81", "\xCE\x99\xCC\x88\xCC\x81"},
    {0x1FD6, "\xCE\x99\xCD\x82", "\xCE\x99\xCD\x82"},
    {0x1FD7, "\xCE\x99\xCC\x88\xCD\x82", "\xCE\x99\xCC\x88\xCD\x82"},
    {0x1FE2, "\xCE\xA5\xCC\x88\xCC\x80", "\xCE\xA5\xCC\x88\xCC\x80"},
    {0x1FE3, "\xCE\xA5\xCC\x88\xCC\x81", "\xCE\xA5\xCC\x88\xCC\x81"},
    {0x1FE4, "\xCE\xA1\xCC\x93", "\xCE\xA1\xCC\x93"},
    {0x1FE6, "\xCE\xA5\xCD\x82", "\xCE\xA5\xCD\x82"},
    {0x1FE7, "\xCE\xA5\xCC\x88\xCD\x82", "\xCE\xA5\xCC\x88\xCD\x82"},
    {0x1FF2, "\xE1\xBF\xBA\xCE\x99", "\xE1\xBF\xBA\xCD\x85"},
    {0x1FF3, "\xCE\xA9\xCE\x99", nullptr},
    {0x1FF4, "\xCE\x8F\xCE\x99", "\xCE\x8F\xCD\x85"},
    {0x1FF6, "\xCE\xA9\xCD\x82", "\xCE\xA9\xCD\x82"},
    {0x1FF7, "\xCE\xA9\xCD\x82\xCE\x99", "\xCE\xA9\xCD\x82\xCD\x85"},
    {0x1FFC, "\xCE\xA9\xCE\x99", nullptr},
    {0xFB00, "\x46\x46", "\x46\x66"},
    {0xFB01, "\x46\x49", "\x46\x69"},
    {0xFB02, "\x46\x4C", "\x46\x6C"},
    {0xFB03, "\x46\x46\x49", "\x46\x66\x69"},
    {0xFB04, "\x46\x46\x4C", "\x46\x66\x6C"},
    {0xFB05, "\x53\x54", "\x53\x74"},
    {0xFB06, "\x53\x54", "\x53\x74"},
    {0xFB13, "\xD5\x84\xD5\x86", "\xD5\x84\xD5\xB6"},
    {0xFB14, "\xD5\x84\xD4\xB5", "\xD5\x84\xD5\xA5"},
    {0xFB15, "\xD5\x84\xD4\xBB", "\xD5\x84\xD5\xAB"},
    {0xFB16, "\xD5\x8E\xD5\x86", "\xD5\x8E\xD5\xB6"},
    {0xFB17, "\xD5\x84\xD4\xBD", "\xD5\x84\xD5\xAD"},
};

const FullMapping* find_full_mapping(char32_t c) {
  if (c < 0xDF) return nullptr;
  const auto* at = std::lower_bound(std::begin(kFullMappings), std::end(kFullMappings), c,
                                    [](const FullMapping& m, char32_t wanted) { return m.from < wanted; });
  return at != std::end(kFullMappings) && at->from == c ? at : nullptr;
}

bool is_cased(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

bool is_case_ignorable(char32_t c) {
  if (c == '\'' || c == '.' || c == ':' || c == '^' || c == '`' || c == 0xB7 || c == 0x2019) return true;
  if (c < 0x80) return false;
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_ME || category == UTF8PROC_CATEGORY_CF ||
         category == UTF8PROC_CATEGORY_LM || category == UTF8PROC_CATEGORY_SK;
}

constexpr char32_t kCapitalSigma = 0x3A3;
constexpr char32_t kFinalSigma = 0x3C2;
constexpr char32_t kDottedI = 0x130;

class CaseMapper {
 public:
  CaseMapper(Heap& heap, const Str& s) : s_(s), out_(heap) {}

  const Str* map(Case mode) {
    const char* at = s_.data;
    const char* end = s_.data + s_.size;
    bool inside_word = false;
    bool first = true;
    while (at < end) {
      const auto position = static_cast<size_t>(at - s_.data);
      const char32_t c = next_char(at);
      const bool input = is_input_at(s_, position);
      switch (mode) {
        case Case::upper: put_upper(c, input); break;
        case Case::lower: put_lower(c, input, position); break;
        case Case::capitalize: first ? put_title(c, input) : put_lower(c, input, position); break;
        case Case::title: inside_word ? put_lower(c, input, position) : put_title(c, input); break;
        case Case::swap: is_upper(c) ? put_lower(c, input, position) : is_lower(c) ? put_upper(c, input) : out_.append_char(c, input); break;
      }
      inside_word = is_cased(c);
      first = false;
    }
    return out_.finish();
  }

 private:
  static bool is_upper(char32_t c) {
    return c < 0x80 ? c >= 'A' && c <= 'Z' : utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_LU;
  }

  static bool is_lower(char32_t c) {
    return c < 0x80 ? c >= 'a' && c <= 'z' : utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_LL;
  }

  void put_upper(char32_t c, bool input) {
    if (const FullMapping* full = find_full_mapping(c)) return out_.append(full->upper, input);
    out_.append_char(static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))), input);
  }

  void put_title(char32_t c, bool input) {
    const FullMapping* full = find_full_mapping(c);
    if (full != nullptr && full->title != nullptr) return out_.append(full->title, input);
    out_.append_char(static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))), input);
  }

  void put_lower(char32_t c, bool input, size_t position) {
    if (c == kDottedI) return out_.append("i\xCC\x87", input);
    if (c == kCapitalSigma && is_final(position)) return out_.append_char(kFinalSigma, input);
    out_.append_char(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), input);
  }

  // Unicode 14, table 3-17: preceded by a cased letter and not followed by one, case-ignorable characters skipped.
  bool is_final(size_t position) const {
    const char* end = s_.data + s_.size;
    const char* at = s_.data + position;
    next_char(at);
    while (at < end) {
      const char32_t c = next_char(at);
      if (is_case_ignorable(c)) continue;
      if (is_cased(c)) return false;
      break;
    }
    size_t before = position;
    while (before > 0) {
      do --before;
      while ((static_cast<unsigned char>(s_.data[before]) & 0xC0) == 0x80);
      const char* previous = s_.data + before;
      const char32_t c = next_char(previous);
      if (!is_case_ignorable(c)) return is_cased(c);
    }
    return false;
  }

  const Str& s_;
  Builder out_;
};

}  // namespace

const Str* change_case(Heap& heap, const Str* s, Case mode) {
  if (!heap.work(1 + s->size / 8)) return nullptr;
  return CaseMapper(heap, *s).map(mode);
}

}  // namespace sluice::text::jinja
