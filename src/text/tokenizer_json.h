// A tokenizer from Hugging Face's files: tokenizer.json, with tokenizer_config.json and chat_template.jinja beside it.
// Contract: takes the files' text (this room knows no files), any of which may be hostile. What the format can say and
// this engine cannot do is an Error that names it. Next: text/tokenizer_json_steps.h.
#pragma once

#include <string_view>

#include "base/result.h"
#include "text/tokenizer_spec.h"

namespace sluice::text {

struct TokenizerJsonFiles {
  std::string_view tokenizer_json;
  std::string_view tokenizer_config = {};  // empty: not there
  std::string_view chat_template = {};     // empty: not there; wins over the one in tokenizer_config
};

Result<TokenizerSpec> spec_from_tokenizer_json(const TokenizerJsonFiles& files);

// Special ids, add_bos_token, add_eos_token and chat templates from tokenizer_config.json, for a spec that came from
// somewhere else (tokenizer.model). Either text may be empty.
Status apply_tokenizer_config(std::string_view tokenizer_config, std::string_view chat_template, TokenizerSpec& spec);

}  // namespace sluice::text
