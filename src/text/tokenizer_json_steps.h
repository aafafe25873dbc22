// The parts of tokenizer.json around the model: normalizer, pre_tokenizer, post_processor, decoder.
// Contract: each reads one JSON object (null is allowed) into the spec; unknown types are Errors.
// Next: text/tokenizer_json.cc.
#pragma once

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "text/tokenizer_spec.h"

namespace sluice::text {

using Json = nlohmann::json;

// A member if it is there and of that type, else the other value. Never throws.
bool json_flag(const Json& object, const char* key, bool otherwise);
std::string json_text(const Json& object, const char* key, std::string_view otherwise);
const Json& json_member(const Json& object, const char* key);  // a null if it is not there

// True if a normalizer or pre-tokenizer maps text to the byte alphabet.
bool uses_byte_level(const Json& tokenizer);

Status read_normalizer(const Json& normalizer, TokenizerSpec& spec);
Status read_pre_tokenizer(const Json& pre_tokenizer, TokenizerSpec& spec);
Status read_post_processor(const Json& post_processor, TokenizerSpec& spec);
Status read_decoder(const Json& decoder, TokenizerSpec& spec);

}  // namespace sluice::text
