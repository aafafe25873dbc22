// A tokenizer from SentencePiece's tokenizer.model, a protocol-buffer file, read by a small checked reader of our own.
// Contract: takes the file's bytes, which may be hostile. Model types BPE and unigram.
// Next: text/tokenizer_spec.h; apply_tokenizer_config in text/tokenizer_json.h for the files beside it.
#pragma once

#include <string_view>

#include "base/result.h"
#include "text/tokenizer_spec.h"

namespace sluice::text {

Result<TokenizerSpec> spec_from_sentencepiece(std::string_view model_bytes);

}  // namespace sluice::text
