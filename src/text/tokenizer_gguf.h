// A tokenizer from a GGUF file's metadata.
// Contract: the caller reads the keys (this room knows no files) and fills GgufTokenizerFields; every value may be
// hostile. Next: text/tokenizer_spec.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/tokenizer_spec.h"

namespace sluice::text {

// Keys tokenizer.ggml.* by their own names; absent arrays stay empty.
struct GgufTokenizerFields {
  std::string model;  // "llama", "gpt2", "t5" ...
  std::string pre;
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> token_type;
  std::vector<std::string> merges;
  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> eos_token_id;
  std::optional<int64_t> eot_token_id;
  std::optional<int64_t> eom_token_id;
  std::optional<int64_t> unknown_token_id;
  std::optional<int64_t> padding_token_id;
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  std::optional<bool> add_space_prefix;
  std::optional<bool> remove_extra_whitespaces;
  std::string precompiled_charsmap;  // the u8 array's bytes
  std::vector<NamedTemplate>
      chat_templates;  // tokenizer.chat_template as "default", tokenizer.chat_template.{name} as name
};

Result<TokenizerSpec> spec_from_gguf(GgufTokenizerFields fields);

// "<0x41>" -> 'A'; nothing for any other text. Upper and lower case digits.
std::optional<uint8_t> parse_byte_token(std::string_view text);

}  // namespace sluice::text
