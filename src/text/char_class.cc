// Character classes from utf8proc's categories; the first plane is a table made once.
// Contract: text/char_class.h.
// Next: text/splitters_test.cc compares them with PCRE2's.
#include "text/char_class.h"

#include <utf8proc.h>

#include <array>

namespace sluice::text {
namespace {

bool is_white_space(uint32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

struct Range {
  uint32_t first;
  uint32_t last;
};

// Scripts.txt of Unicode 15, script Han.
constexpr Range kHanRanges[] = {{0x2E80, 0x2E99},   {0x2E9B, 0x2EF3},   {0x2F00, 0x2FD5},   {0x3005, 0x3005},
                                {0x3007, 0x3007},   {0x3021, 0x3029},   {0x3038, 0x303B},   {0x3400, 0x4DBF},
                                {0x4E00, 0x9FFF},   {0xF900, 0xFA6D},   {0xFA70, 0xFAD9},   {0x16FE2, 0x16FE3},
                                {0x16FF0, 0x16FF1}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B739}, {0x2B740, 0x2B81D},
                                {0x2B820, 0x2CEA1}, {0x2CEB0, 0x2EBE0}, {0x2F800, 0x2FA1D}, {0x30000, 0x3134A},
                                {0x31350, 0x323AF}};

bool is_han(uint32_t c) {
  if (c < kHanRanges[0].first) return false;
  for (const Range& range : kHanRanges) {
    if (c >= range.first && c <= range.last) return true;
  }
  return false;
}

uint32_t category_class(uint32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
      return kUpper;
    case UTF8PROC_CATEGORY_LL:
      return kLower;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return kOtherLetter;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return kMark;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return kNumber;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return kPunctuation;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
      return kSymbol;
    default:
      return 0;
  }
}

CharCode compute(uint32_t c) {
  return c | category_class(c) | (is_white_space(c) ? kSpace : 0u) | (is_han(c) ? kHan : 0u);
}

constexpr uint32_t kTableChars = 0x10000;

std::array<CharCode, kTableChars> make_table() {
  std::array<CharCode, kTableChars> table{};
  for (uint32_t c = 0; c < kTableChars; ++c) table[c] = compute(c);
  return table;
}

}  // namespace

CharCode classify(uint32_t code) {
  static const std::array<CharCode, kTableChars> table = make_table();
  return code < kTableChars ? table[code] : compute(code);
}

bool is_word_character(uint32_t code) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    case UTF8PROC_CATEGORY_SO:
      return code >= 0x24B6 && code <= 0x24E9;  // circled letters are Alphabetic
    case UTF8PROC_CATEGORY_CF:
      return code == 0x200C || code == 0x200D;
    default:
      return has(classify(code), kLetter | kMark);
  }
}

}  // namespace sluice::text
