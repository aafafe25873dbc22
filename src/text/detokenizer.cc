// Holding back the beginning of a character until its last byte has come.
// Contract: text/detokenizer.h.
// Next: text/detokenizer_test.cc.
#include "text/detokenizer.h"

#include <fmt/format.h>

#include "text/utf8.h"

namespace sluice::text {

Status TokenJoiner::append(int32_t id, std::string& out) {
  if (id < 0 || static_cast<size_t>(id) >= tokenizer_.vocabulary_size()) {
    return Error{fmt::format("token id {} with {} tokens", id, tokenizer_.vocabulary_size())};
  }
  const TokenizerSpec& spec = tokenizer_.spec();
  std::string_view bytes = tokenizer_.token_bytes(id);
  if (tokenizer_.is_control(id)) {
    if (options_.show_special) out += bytes;
  } else {
    if (drop_blank_ && bytes.starts_with(' ')) bytes.remove_prefix(1);
    if (!tokenizer_.token_bytes(id).empty()) drop_blank_ = false;
    out += bytes;
  }
  // Encoding puts a blank after every token that cuts the text where the prefix is kAlways, so that is where printing
  // drops it.
  if (spec.strip_leading_space && spec.space_prefix == SpacePrefix::kAlways && tokenizer_.cuts_text(id))
    drop_blank_ = true;
  return {};
}

Status Detokenizer::feed(int32_t id, std::string& out) {
  SLUICE_TRY_VOID(joiner_.append(id, held_));
  const size_t unfinished = unfinished_utf8_bytes(held_);
  append_valid_utf8(out, std::string_view(held_).substr(0, held_.size() - unfinished));
  held_.erase(0, held_.size() - unfinished);
  return {};
}

void Detokenizer::finish(std::string& out) {
  append_valid_utf8(out, held_);
  held_.clear();
}

Result<std::string> Tokenizer::decode(std::span<const int32_t> ids, bool show_special) const {
  TokenJoiner joiner(*this, {.show_special = show_special});
  std::string out;
  for (const int32_t id : ids) SLUICE_TRY_VOID(joiner.append(id, out));
  return out;
}

}  // namespace sluice::text
