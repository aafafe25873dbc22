// The order of things: added tokens are found, the gaps are normalised, cut into pieces, and each piece goes to the
// vocabulary. Contract: text/tokenizer.h. Next: text/vocabulary.cc.
#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/limits.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/prefix_set.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace sluice::text {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";

// Names that end a generation in published models; the file's eos id is often only one of several.
constexpr std::array<std::string_view, 16> kEndNames = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>",   "<|endoftext|>", "<|end_of_text|>",
    "<|eom_id|>", "<EOT>",      "</s>",    "[EOS]",           "<|eom|>",       "<|return|>",
    "<|call|>",   "<|EOT|>",    "[EOT]",   "<|end_of_turn|>",
};

bool is_special_type(TokenType type) {
  return type == TokenType::kControl || type == TokenType::kUnknown;
}

std::string with_spaces_restored(std::string_view text) {
  std::string out;
  size_t at = 0;
  for (size_t hit = text.find(kMetaspace); hit != std::string_view::npos; hit = text.find(kMetaspace, at)) {
    out.append(text.substr(at, hit - at));
    out += ' ';
    at = hit + kMetaspace.size();
  }
  out.append(text.substr(at));
  return out;
}

// A missing or wrong token type must not let ordinary text spell the ids that begin or end a turn.
void mark_turn_ids_as_control(TokenizerSpec& spec) {
  for (const int32_t id : {spec.bos_id, spec.eos_id, spec.eot_id, spec.eom_id}) {
    if (id < 0) continue;
    const auto i = static_cast<size_t>(id);
    const std::string& text = spec.tokens[i];
    const bool named = text.size() >= 3 &&
                       ((text.front() == '<' && text.back() == '>') || (text.front() == '[' && text.back() == ']'));
    if (!named || spec.types[i] != TokenType::kNormal) continue;
    spec.types[i] = TokenType::kControl;
    const bool added =
        std::any_of(spec.added_tokens.begin(), spec.added_tokens.end(), [&](const AddedToken& a) { return a.id == i; });
    if (!added) spec.added_tokens.push_back({.id = static_cast<uint32_t>(id), .special = true});
  }
}

bool is_word_at(std::string_view text, size_t at) {
  const Utf8Char c = decode_utf8(text, at);
  return c.valid && is_word_character(c.code);
}

// The character that ends right before `at`, as its place.
size_t previous_character(std::string_view text, size_t at) {
  size_t begin = at - 1;
  while (begin > 0 && at - begin < 4 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin + decode_utf8(text, begin).bytes == at ? begin : at - 1;
}

bool is_space_at(std::string_view text, size_t at) {
  const Utf8Char c = decode_utf8(text, at);
  return c.valid && has(classify(c.code), kSpace);
}

struct Found {
  size_t begin;
  size_t end;
  const AddedToken* token;
};

}  // namespace

struct Tokenizer::Tables {
  TokenizerSpec spec;
  std::vector<std::string> printed;  // of tokens with U+2581, blanks restored
  std::vector<uint32_t> printed_at;  // by token: its place in printed, or kNotFound; empty if there are none
  std::vector<bool> added;
  std::vector<bool> cuts;                    // of these, the ones in raw_added
  std::vector<AddedToken> sorted_added;      // the PrefixSets' values index this
  std::vector<std::string> normalized_text;  // keeps the normalised added tokens' texts alive
  PrefixSet raw_added;                       // looked for in the text as it comes
  PrefixSet normalized_added;                // looked for after the normalizer
  std::unordered_map<std::string_view, int32_t> added_by_text;
  std::vector<int32_t> end_ids;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<const Vocabulary> vocabulary;

  struct Scratch {
    PieceScratch piece;
    Pieces pieces;
  };

  Status build_added();
  void prepare_spaces(std::string_view text, bool prefix, std::string& out) const;
  void build_printed();
  void build_end_ids();
  std::vector<Found> find_added(const PrefixSet& set, std::string_view text, std::span<const ByteRange> trusted) const;
  Status encode_gap(std::string_view text, bool is_first, bool normalized_special, Scratch& scratch,
                    std::vector<int32_t>& out) const;
  Status encode_plain(std::string_view text, bool is_first, Scratch& scratch, std::vector<int32_t>& out) const;
  Status encode_pieces(std::string_view text, Scratch& scratch, std::vector<int32_t>& out) const;
  Result<std::vector<int32_t>> encode(std::string_view text, std::span<const ByteRange> trusted,
                                      bool add_special) const;
};

Status Tokenizer::Tables::build_added() {
  added.assign(spec.tokens.size(), false);
  cuts.assign(spec.tokens.size(), false);
  sorted_added = spec.added_tokens;
  normalized_text.resize(sorted_added.size());
  std::vector<PrefixSet::Entry> raw;
  std::vector<PrefixSet::Entry> normalized;
  for (size_t i = 0; i < sorted_added.size(); ++i) {
    const AddedToken& token = sorted_added[i];
    const std::string& text = spec.tokens[token.id];
    added[token.id] = true;
    added_by_text.emplace(text, static_cast<int32_t>(token.id));
    // Special tokens are found by their places in the caller's text, so without a normalizer they need not wait for it.
    if (token.normalized && (!normalizer.empty() || !token.special)) {
      SLUICE_TRY(const std::string form, normalizer.apply(text));
      // Hugging Face's Prepend also changes the tokens that are looked for; SentencePiece's own prefix does not.
      prepare_spaces(form, spec.kind == ModelKind::kCharacterBpe && spec.space_prefix == SpacePrefix::kAlways,
                     normalized_text[i]);
      normalized.push_back({normalized_text[i], static_cast<uint32_t>(i)});
    } else {
      raw.push_back({text, static_cast<uint32_t>(i)});
      cuts[token.id] = true;
    }
  }
  raw_added = PrefixSet(std::move(raw));
  normalized_added = PrefixSet(std::move(normalized));
  return {};
}

void Tokenizer::Tables::build_printed() {
  if (!spec.restore_spaces) return;
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    if (is_special_type(spec.types[i]) || spec.types[i] == TokenType::kByte) continue;
    if (spec.tokens[i].find(kMetaspace) == std::string::npos) continue;
    if (printed_at.empty()) printed_at.assign(spec.tokens.size(), kNotFound);
    printed_at[i] = static_cast<uint32_t>(printed.size());
    printed.push_back(with_spaces_restored(spec.tokens[i]));
  }
}

void Tokenizer::Tables::build_end_ids() {
  for (const int32_t id : {spec.eos_id, spec.eot_id, spec.eom_id}) {
    if (id >= 0) end_ids.push_back(id);
  }
  end_ids.insert(end_ids.end(), spec.end_ids.begin(), spec.end_ids.end());
  for (const std::string_view name : kEndNames) {
    const auto found = added_by_text.find(name);
    if (found != added_by_text.end()) end_ids.push_back(found->second);
  }
  std::sort(end_ids.begin(), end_ids.end());
  end_ids.erase(std::unique(end_ids.begin(), end_ids.end()), end_ids.end());
}

// The longest added token at each place, from left to right. Special ones only where the whole token lies in one
// trusted range.
std::vector<Found> Tokenizer::Tables::find_added(const PrefixSet& set, std::string_view text,
                                                 std::span<const ByteRange> trusted) const {
  std::vector<Found> found;
  if (set.empty()) return found;
  size_t range = 0;
  size_t free_from = 0;  // what an earlier token's rstrip has taken ends here
  for (size_t at = 0; at < text.size();) {
    while (range < trusted.size() && trusted[range].end <= at) ++range;
    const bool is_trusted = range < trusted.size() && trusted[range].begin <= at;
    size_t longest = 0;
    const AddedToken* token = nullptr;
    set.visit_prefixes(text, at, [&](uint32_t value, size_t bytes) {
      const AddedToken& candidate = sorted_added[value];
      if (candidate.special && (!is_trusted || at + bytes > trusted[range].end)) return;
      if (candidate.single_word) {
        if (at > 0 && is_word_at(text, previous_character(text, at))) return;
        if (at + bytes < text.size() && is_word_at(text, at + bytes)) return;
      }
      if (bytes > longest) {
        longest = bytes;
        token = &candidate;
      }
    });
    if (token == nullptr) {
      ++at;
      continue;
    }
    Found match{at, at + longest, token};
    if (token->lstrip) {
      while (match.begin > free_from && is_space_at(text, previous_character(text, match.begin))) {
        match.begin = previous_character(text, match.begin);
      }
    }
    if (token->rstrip) {
      while (match.end < text.size() && is_space_at(text, match.end)) match.end += decode_utf8(text, match.end).bytes;
    }
    found.push_back(match);
    at = match.end;
    free_from = match.end;
  }
  return found;
}

// Replaces `out` by the text with a blank before it if prefix, and blanks spelled as the vocabulary has them.
void Tokenizer::Tables::prepare_spaces(std::string_view text, bool prefix, std::string& out) const {
  const std::string_view space = spec.replace_spaces ? kMetaspace : std::string_view(" ");
  out.clear();
  if (prefix) out += space;
  for (const char c : text) {
    if (c == ' ') {
      out += space;
    } else {
      out += c;
    }
  }
}

Status Tokenizer::Tables::encode_gap(std::string_view text, bool is_first, bool normalized_special, Scratch& scratch,
                                     std::vector<int32_t>& out) const {
  if (text.empty()) return {};
  std::string normalized;
  if (!normalizer.empty()) {
    SLUICE_TRY(normalized, normalizer.apply(text));
    text = normalized;
    if (text.empty()) return {};
  }
  std::string prepared;
  if (spec.space_prefix != SpacePrefix::kNever || spec.replace_spaces) {
    const bool prefix =
        spec.space_prefix == SpacePrefix::kAlways || (spec.space_prefix == SpacePrefix::kFirst && is_first);
    prepare_spaces(text, prefix, prepared);
    text = prepared;
  }
  if (normalized_added.empty()) return encode_plain(text, is_first, scratch, out);
  const ByteRange all{0, text.size()};
  const auto found =
      find_added(normalized_added, text, normalized_special ? std::span(&all, 1) : std::span<const ByteRange>{});
  size_t at = 0;
  for (const Found& match : found) {
    SLUICE_TRY_VOID(encode_plain(text.substr(at, match.begin - at), is_first && at == 0, scratch, out));
    out.push_back(static_cast<int32_t>(match.token->id));
    at = match.end;
  }
  return encode_plain(text.substr(at), is_first && at == 0, scratch, out);
}

Status Tokenizer::Tables::encode_plain(std::string_view text, bool is_first, Scratch& scratch,
                                       std::vector<int32_t>& out) const {
  if (text.empty()) return {};
  if (pre_tokenizer.empty()) return encode_pieces(text, scratch, out);
  SLUICE_TRY_VOID(pre_tokenizer.split(text, is_first, scratch.pieces));
  size_t begin = 0;
  for (const size_t end : scratch.pieces.ends) {
    SLUICE_TRY_VOID(encode_pieces(std::string_view(scratch.pieces.text).substr(begin, end - begin), scratch, out));
    begin = end;
  }
  return {};
}

// Cuts before runs of U+2581 where that cannot change the ids: words are shorter, and found in the cache.
Status Tokenizer::Tables::encode_pieces(std::string_view text, Scratch& scratch, std::vector<int32_t>& out) const {
  // Unknown characters that become one token do so across a cut unless the cut's own character is known.
  const bool keeps_unknown = !spec.fuse_unknown || vocabulary->find(kMetaspace).has_value();
  const bool by_words = vocabulary->words_are_separate() && !spec.ignore_merges && keeps_unknown &&
                        (spec.kind == ModelKind::kSentencePieceBpe || spec.kind == ModelKind::kCharacterBpe);
  size_t begin = 0;
  size_t run_end = text.starts_with(kMetaspace) ? kMetaspace.size() : 0;
  for (size_t at = by_words ? text.find(kMetaspace, run_end) : std::string_view::npos; at != std::string_view::npos;
       at = text.find(kMetaspace, run_end)) {
    if (at != run_end) {
      SLUICE_TRY_VOID(vocabulary->encode(text.substr(begin, at - begin), scratch.piece, out));
      begin = at;
    }
    run_end = at + kMetaspace.size();
  }
  return vocabulary->encode(text.substr(begin), scratch.piece, out);
}

Result<std::vector<int32_t>> Tokenizer::Tables::encode(std::string_view text, std::span<const ByteRange> trusted,
                                                       bool add_special) const {
  Scratch scratch;
  std::vector<int32_t> out;
  if (add_special) out = spec.prefix_ids;
  const size_t prefix = out.size();
  const auto found = find_added(raw_added, text, trusted);
  size_t at = 0;
  const auto gap = [&](size_t end) {
    // A special token that is looked for after normalising may only be found in a gap that is trusted as a whole.
    const bool special =
        std::any_of(trusted.begin(), trusted.end(), [&](const ByteRange& r) { return r.begin <= at && end <= r.end; });
    return encode_gap(text.substr(at, end - at), at == 0, !normalized_added.empty() && special, scratch, out);
  };
  for (const Found& match : found) {
    SLUICE_TRY_VOID(gap(match.begin));
    out.push_back(static_cast<int32_t>(match.token->id));
    at = match.end;
  }
  SLUICE_TRY_VOID(gap(text.size()));
  if (add_special) {
    // A template may have written the prefix itself.
    const bool twice =
        prefix > 0 && out.size() >= 2 * prefix &&
        std::equal(spec.prefix_ids.begin(), spec.prefix_ids.end(), out.begin() + static_cast<std::ptrdiff_t>(prefix));
    if (twice) out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(prefix));
    out.insert(out.end(), spec.suffix_ids.begin(), spec.suffix_ids.end());
  }
  return out;
}

Result<Tokenizer> Tokenizer::create(TokenizerSpec spec) {
  SLUICE_TRY_VOID(check_spec(spec));
  auto tables = std::make_shared<Tables>();
  tables->spec = std::move(spec);
  mark_turn_ids_as_control(tables->spec);
  SLUICE_TRY(tables->normalizer, Normalizer::create(tables->spec.normalizer));
  SLUICE_TRY(tables->pre_tokenizer, PreTokenizer::create(tables->spec.pre_tokenizer));
  SLUICE_TRY_VOID(tables->build_added());
  tables->build_printed();
  tables->build_end_ids();
  SLUICE_TRY(tables->vocabulary, Vocabulary::create(tables->spec));
  return Tokenizer(std::move(tables));
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  const TextPart part{text, options.parse_special};
  return encode_parts(std::span(&part, 1), options.add_special);
}

Result<std::vector<int32_t>> Tokenizer::encode_parts(std::span<const TextPart> parts, bool add_special) const {
  uint64_t bytes = 0;
  std::vector<ByteRange> trusted;
  for (const TextPart& part : parts) {
    // Checked before a byte of it is read.
    if (part.text.size() > limits::kPromptBytesMax || bytes + part.text.size() > limits::kPromptBytesMax) {
      return Error{fmt::format("text of {} bytes, limit {}", bytes + part.text.size(), limits::kPromptBytesMax)};
    }
    const size_t end = bytes + part.text.size();
    if (part.parse_special) {
      if (!trusted.empty() && trusted.back().end == bytes) {
        trusted.back().end = end;
      } else {
        trusted.push_back({bytes, end});
      }
    }
    bytes = end;
  }
  if (parts.size() == 1) return tables_->encode(parts[0].text, trusted, add_special);
  std::string joined;
  joined.reserve(bytes);
  for (const TextPart& part : parts) joined += part.text;
  return tables_->encode(joined, trusted, add_special);
}

size_t Tokenizer::vocabulary_size() const {
  return tables_->spec.tokens.size();
}

const TokenizerSpec& Tokenizer::spec() const {
  return tables_->spec;
}

std::string_view Tokenizer::token_bytes(int32_t id) const {
  SLUICE_CHECK(id >= 0 && static_cast<size_t>(id) < vocabulary_size());
  const auto i = static_cast<size_t>(id);
  const uint32_t at = tables_->printed_at.empty() ? kNotFound : tables_->printed_at[i];
  return at == kNotFound ? tables_->spec.tokens[i] : tables_->printed[at];
}

TokenType Tokenizer::type(int32_t id) const {
  SLUICE_CHECK(id >= 0 && static_cast<size_t>(id) < vocabulary_size());
  return tables_->spec.types[static_cast<size_t>(id)];
}

bool Tokenizer::is_control(int32_t id) const {
  return is_special_type(type(id));
}

bool Tokenizer::is_added(int32_t id) const {
  SLUICE_CHECK(id >= 0 && static_cast<size_t>(id) < vocabulary_size());
  return tables_->added[static_cast<size_t>(id)];
}

bool Tokenizer::cuts_text(int32_t id) const {
  SLUICE_CHECK(id >= 0 && static_cast<size_t>(id) < vocabulary_size());
  return tables_->cuts[static_cast<size_t>(id)];
}

std::optional<int32_t> Tokenizer::find(std::string_view text) const {
  const auto added = tables_->added_by_text.find(text);
  if (added != tables_->added_by_text.end()) return added->second;
  if (const auto token = tables_->vocabulary->find(text)) return static_cast<int32_t>(*token);
  return std::nullopt;
}

const std::vector<int32_t>& Tokenizer::end_ids() const {
  return tables_->end_ids;
}

bool Tokenizer::ends_generation(int32_t id) const {
  return std::binary_search(tables_->end_ids.begin(), tables_->end_ids.end(), id);
}

}  // namespace sluice::text
