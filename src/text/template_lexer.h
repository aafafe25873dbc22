// Tokens of a template, with Jinja's white-space rules already applied (trim_blocks and lstrip_blocks on, as Hugging Face sets them).
// Contract: lex() accepts any valid UTF-8 up to the limit and returns tokens that end with `eof`, or a sentence with the line.
// Next: template_parser.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::text::jinja {

enum class TokenKind : uint8_t {
  data, variable_begin, variable_end, block_begin, block_end, name, string, integer, real, eof,
  // operators
  add, sub, mul, div, floor_div, mod, pow, tilde, left_bracket, right_bracket, left_paren, right_paren, left_brace, right_brace,
  equal, not_equal, greater, greater_equal, less, less_equal, assign, dot, colon, pipe, comma, semicolon,
};

struct Token {
  TokenKind kind;
  uint32_t line;
  std::string text;  // data, name, string (unescaped), operator
  int64_t integer = 0;
  double real = 0;
};

Result<std::vector<Token>> lex(std::string_view source);

}  // namespace sluice::text::jinja
