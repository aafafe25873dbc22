// Text to token ids. Create once from a spec; then const use from any thread.
// Contract: special tokens never come out of text whose parse_special is false, whatever it spells. Any bytes may come
// in. Time is linear in the text for every model kind. Next: text/detokenizer.h for the way back; text/tokenizer_spec.h
// for what a tokenizer is made of.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer_spec.h"

namespace sluice::text {

struct EncodeOptions {
  bool parse_special = false;  // find special tokens in the text
  bool add_special = false;    // put the tokenizer's prefix and suffix ids around it (not a second time, if the parsed
                               // text begins with them)
};

// A stretch of a rendered prompt: the template's own text may spell special tokens, what a user wrote may not.
struct TextPart {
  std::string_view text;
  bool parse_special = false;
};

class Tokenizer {
 public:
  static Result<Tokenizer> create(TokenizerSpec spec);

  Result<std::vector<int32_t>> encode(std::string_view text, EncodeOptions options) const;

  // The parts as one text: ordinary tokens may span parts, special tokens are found only inside parts that allow them.
  Result<std::vector<int32_t>> encode_parts(std::span<const TextPart> parts, bool add_special) const;

  // The exact bytes that the ids stand for, invalid UTF-8 included. An id out of range is an Error.
  Result<std::string> decode(std::span<const int32_t> ids, bool show_special) const;

  size_t vocabulary_size() const;
  const TokenizerSpec& spec() const;

  // What a token prints as, control tokens included; blanks restored. 0 <= id < vocabulary_size().
  std::string_view token_bytes(int32_t id) const;
  TokenType type(int32_t id) const;
  bool is_control(int32_t id) const;  // prints nothing unless asked: control and unknown tokens
  bool is_added(int32_t id) const;    // found in the text as a whole
  bool cuts_text(int32_t id) const;   // and before normalising: what follows is encoded as a text of its own

  // The id of a token by its text: added tokens first.
  std::optional<int32_t> find(std::string_view text) const;

  // Ids that end a generation: eos, eot, eom, the spec's end_ids, and control tokens with well-known names. Sorted.
  const std::vector<int32_t>& end_ids() const;
  bool ends_generation(int32_t id) const;

 private:
  struct Tables;
  explicit Tokenizer(std::shared_ptr<const Tables> tables) : tables_(std::move(tables)) {}
  std::shared_ptr<const Tables> tables_;
};

}  // namespace sluice::text
