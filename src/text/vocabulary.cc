// Building the merge table, and the three ways from a piece to ids.
// Contract: text/vocabulary.h.
// Next: text/tokenizer_test.cc.
#include "text/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/limits.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";
// SentencePiece's penalty for a character outside the vocabulary.
constexpr double kUnknownPenalty = 10;
static_assert(kNotFound == kNoSymbol);
constexpr size_t kCacheSlots = 1u << 12;

bool is_mergeable(TokenType type) {
  return type == TokenType::kNormal || type == TokenType::kUserDefined || type == TokenType::kUnused;
}

// True if U+2581 follows another character somewhere in the text.
bool has_inner_metaspace(std::string_view text) {
  for (size_t at = text.find(kMetaspace); at != std::string_view::npos;
       at = text.find(kMetaspace, at + kMetaspace.size())) {
    if (at > 0 && !text.substr(0, at).ends_with(kMetaspace)) return true;
  }
  return false;
}

float sound_score(float score) {
  return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
}

}  // namespace

Result<std::unique_ptr<const Vocabulary>> Vocabulary::create(const TokenizerSpec& spec) {
  std::unique_ptr<Vocabulary> made(new Vocabulary(spec));
  made->index_tokens();
  switch (spec.kind) {
    case ModelKind::kByteLevelBpe:
    case ModelKind::kCharacterBpe:
      SLUICE_TRY_VOID(made->build_ranked_merges());
      break;
    case ModelKind::kSentencePieceBpe:
      SLUICE_TRY_VOID(made->build_scored_merges());
      break;
    case ModelKind::kUnigram:
      made->build_unigram();
      break;
  }
  return std::unique_ptr<const Vocabulary>(std::move(made));
}

void Vocabulary::index_tokens() {
  byte_ids_.fill(-1);
  byte_symbols_.fill(kNoSymbol);
  words_are_separate_ = true;
  // Normal tokens win over others of the same text; of two normal ones the later does, as in GGUF's own reader.
  for (const bool normal : {false, true}) {
    for (size_t i = 0; i < spec_.tokens.size(); ++i) {
      const TokenType type = spec_.types[i];
      const std::string& text = spec_.tokens[i];
      if (type == TokenType::kByte && normal) byte_ids_[static_cast<uint8_t>(text[0])] = static_cast<int32_t>(i);
      if (!is_mergeable(type) || (type == TokenType::kNormal) != normal || text.empty()) continue;
      index_.put(text, static_cast<uint32_t>(i), [this](uint32_t n) { return text_of(n); });
      if (words_are_separate_ && has_inner_metaspace(text)) words_are_separate_ = false;
    }
  }
  for (size_t b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    byte_symbols_[b] = lookup(std::string_view(&byte, 1));
    if (spec_.kind == ModelKind::kByteLevelBpe && byte_symbols_[b] != kNoSymbol) {
      byte_ids_[b] = static_cast<int32_t>(byte_symbols_[b]);
    }
  }
}

// The symbol of a text: a token if ordinary text may become it, else one outside the vocabulary, made on first use.
Result<uint32_t> Vocabulary::symbol(std::string_view text) {
  const uint32_t known = lookup(text);
  if (known != kNotFound) return known;
  extra_bytes_ += text.size();
  if (extra_bytes_ > limits::kExtraSymbolBytesMax) {
    return Error{
        fmt::format("merges make more than {} bytes of symbols outside the vocabulary", limits::kExtraSymbolBytesMax)};
  }
  const auto id = static_cast<uint32_t>(spec_.tokens.size() + extra_.size());
  extra_.emplace_back(text);
  index_.put(extra_.back(), id, [this](uint32_t n) { return text_of(n); });
  return id;
}

Status Vocabulary::build_ranked_merges() {
  const size_t tokens = spec_.tokens.size();
  const auto given_text = [&](uint32_t i) -> const std::string& {
    return i < tokens ? spec_.tokens[i] : spec_.extra_symbols[i - tokens];
  };
  // The symbol that a merge's part is in a text: another one than the file's if that is a control token of the same
  // spelling.
  std::vector<uint32_t> known(tokens + spec_.extra_symbols.size(), kNoSymbol);
  const auto part = [&](uint32_t i) -> Result<uint32_t> {
    if (known[i] == kNoSymbol) {
      SLUICE_TRY(known[i], symbol(given_text(i)));
    }
    return known[i];
  };
  merges_ = MergeTable(spec_.merges.size());
  std::string joined;
  for (size_t rank = 0; rank < spec_.merges.size(); ++rank) {
    const Merge& merge = spec_.merges[rank];
    if (given_text(merge.left).empty() || given_text(merge.right).empty()) continue;
    SLUICE_TRY(const uint32_t left, part(merge.left));
    SLUICE_TRY(const uint32_t right, part(merge.right));
    joined = given_text(merge.left);
    joined += given_text(merge.right);
    if (words_are_separate_ && has_inner_metaspace(joined)) words_are_separate_ = false;
    SLUICE_TRY(const uint32_t result, symbol(joined));
    merges_.insert(left, right, {static_cast<uint32_t>(rank), result});
  }
  if (spec_.kind != ModelKind::kByteLevelBpe) return {};
  for (size_t b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    byte_symbols_[b] = lookup(std::string_view(&byte, 1));
  }
  return {};
}

// SentencePiece joins two symbols whenever the joint text is a token: every way to cut a token in two is a merge,
// ranked by the token's score.
Status Vocabulary::build_scored_merges() {
  std::vector<uint32_t> order;
  size_t cuts = 0;
  for (uint32_t i = 0; i < spec_.tokens.size(); ++i) {
    const std::string& text = spec_.tokens[i];
    if (!is_mergeable(spec_.types[i]) || text.empty() || lookup(text) != i) continue;
    if (text.size() > limits::kScoredPieceBytesMax) {
      if (spec_.types[i] == TokenType::kUserDefined) continue;
      return Error{fmt::format("token {} has {} bytes, limit {} where merges go by score", i, text.size(),
                               limits::kScoredPieceBytesMax)};
    }
    order.push_back(i);
    cuts += text.size() - 1;
  }
  const auto score = [&](uint32_t i) { return sound_score(spec_.scores[i]); };
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return score(a) > score(b); });
  struct Cut {
    uint32_t left;
    uint32_t right;
    MergeResult result;
  };
  std::vector<Cut> found;
  found.reserve(std::min<size_t>(cuts, order.size() * 4));
  uint32_t rank = 0;
  for (size_t n = 0; n < order.size(); ++n) {
    if (n > 0 && score(order[n]) != score(order[n - 1])) ++rank;
    const std::string_view text = spec_.tokens[order[n]];
    const size_t first_bytes = decode_utf8(text, 0).bytes;
    for (size_t at = first_bytes; at < text.size(); at += decode_utf8(text, at).bytes) {
      // A part is a token or a single character, which stands in a text even if it is no token.
      const auto part = [&](std::string_view p) -> Result<uint32_t> {
        const uint32_t known = lookup(p);
        if (known != kNotFound) return known;
        if (decode_utf8(p, 0).bytes == p.size()) return symbol(p);
        return kNoSymbol;
      };
      SLUICE_TRY(const uint32_t left, part(text.substr(0, at)));
      if (left == kNoSymbol) continue;
      SLUICE_TRY(const uint32_t right, part(text.substr(at)));
      if (right == kNoSymbol) continue;
      found.push_back({left, right, {rank, order[n]}});
      if (spec_.types[order[n]] == TokenType::kUnused) unused_.emplace(order[n], std::pair(left, right));
    }
  }
  merges_ = MergeTable(found.size());
  for (const Cut& cut : found) merges_.insert(cut.left, cut.right, cut.result);
  return {};
}

void Vocabulary::build_unigram() {
  std::vector<PrefixSet::Entry> entries;
  float lowest = 0;
  for (uint32_t i = 0; i < spec_.tokens.size(); ++i) {
    const bool usable = spec_.types[i] == TokenType::kNormal || spec_.types[i] == TokenType::kUserDefined;
    if (!usable || !std::isfinite(spec_.scores[i])) continue;
    entries.push_back({spec_.tokens[i], i});
    lowest = std::min(lowest, spec_.scores[i]);
  }
  unknown_score_ = static_cast<double>(lowest) - kUnknownPenalty;
  unigram_ = PrefixSet(std::move(entries));
}

std::optional<uint32_t> Vocabulary::find(std::string_view text) const {
  const uint32_t found = lookup(text);
  if (found == kNotFound || found >= spec_.tokens.size()) return std::nullopt;
  return found;
}

Status Vocabulary::encode(std::string_view piece, PieceScratch& scratch, std::vector<int32_t>& out) const {
  if (piece.empty()) return {};
  if (piece.size() > limits::kPieceBytesMax) {
    return Error{
        fmt::format("{} bytes of text without a place to cut, limit {}", piece.size(), limits::kPieceBytesMax)};
  }
  PieceScratch::Cached* cached = nullptr;
  if (!scratch.cache.empty() && piece.size() <= sizeof(PieceScratch::Cached::text)) {
    cached = &scratch.cache[hash_of(piece) & (scratch.cache.size() - 1)];
    if (cached->bytes == piece.size() && std::memcmp(cached->text, piece.data(), piece.size()) == 0) {
      out.resize(out.size() + cached->count);
      std::copy_n(out.begin() + cached->begin, cached->count, out.end() - cached->count);
      return {};
    }
  }
  const size_t begin = out.size();
  switch (spec_.kind) {
    case ModelKind::kByteLevelBpe:
      encode_bytes(piece, scratch, out);
      break;
    case ModelKind::kCharacterBpe:
    case ModelKind::kSentencePieceBpe:
      encode_characters(piece, scratch, out);
      break;
    case ModelKind::kUnigram:
      encode_unigram(piece, scratch, out);
      break;
  }
  if (cached != nullptr && out.size() < UINT32_MAX) {
    cached->bytes = static_cast<uint8_t>(piece.size());
    std::memcpy(cached->text, piece.data(), piece.size());
    cached->begin = static_cast<uint32_t>(begin);
    cached->count = static_cast<uint32_t>(out.size() - begin);
  } else if (scratch.cache.empty()) {
    // Words repeat in long texts; a short one is over before a cache pays.
    if (out.size() > 512) scratch.cache.resize(kCacheSlots);
  }
  return {};
}

void Vocabulary::encode_bytes(std::string_view piece, PieceScratch& scratch, std::vector<int32_t>& out) const {
  if (spec_.ignore_merges) {
    if (const auto whole = find(piece)) {
      out.push_back(static_cast<int32_t>(*whole));
      return;
    }
  }
  auto& symbols = scratch.symbols;
  symbols.clear();
  scratch.unknown.clear();
  for (size_t i = 0; i < piece.size(); ++i) {
    symbols.push_back(byte_symbols_[static_cast<uint8_t>(piece[i])]);
    if (symbols.back() == kNoSymbol) scratch.unknown.push_back(piece.substr(i, 1));
  }
  scratch.merger.merge(merges_, symbols);
  size_t unknown = 0;
  for (const uint32_t s : symbols) {
    if (s == kNoSymbol) {
      emit_unknown(scratch.unknown[unknown++], out);
    } else {
      emit_symbol(s, out);
    }
  }
}

void Vocabulary::encode_characters(std::string_view piece, PieceScratch& scratch, std::vector<int32_t>& out) const {
  if (spec_.ignore_merges) {
    if (const auto whole = find(piece)) {
      out.push_back(static_cast<int32_t>(*whole));
      return;
    }
  }
  auto& symbols = scratch.symbols;
  symbols.clear();
  scratch.unknown.clear();
  for (size_t at = 0; at < piece.size();) {
    const uint32_t bytes = decode_utf8(piece, at).bytes;
    const auto character = piece.substr(at, bytes);
    at += bytes;
    if (bytes == 1) {
      symbols.push_back(byte_symbols_[static_cast<uint8_t>(character[0])]);
    } else {
      symbols.push_back(lookup(character));
    }
    if (symbols.back() == kNoSymbol) scratch.unknown.push_back(character);
  }
  scratch.merger.merge(merges_, symbols);
  size_t unknown = 0;
  bool previous_unknown = false;
  for (const uint32_t s : symbols) {
    if (s != kNoSymbol) {
      emit_symbol(s, out);
      previous_unknown = false;
      continue;
    }
    const size_t before = out.size();
    emit_unknown(scratch.unknown[unknown++], out);
    const bool is_unknown = out.size() == before + 1 && out.back() == spec_.unknown_id;
    if (spec_.fuse_unknown && is_unknown && previous_unknown) out.pop_back();
    previous_unknown = is_unknown;
  }
}

void Vocabulary::encode_unigram(std::string_view piece, PieceScratch& scratch, std::vector<int32_t>& out) const {
  constexpr double kUnreached = -std::numeric_limits<double>::infinity();
  auto& best = scratch.best;
  best.assign(piece.size() + 1, {kUnreached, 0, kNoSymbol});
  best[0].score = 0;
  for (size_t at = 0; at < piece.size();) {
    const uint32_t bytes = decode_utf8(piece, at).bytes;
    const double here = best[at].score;
    bool whole_character = false;
    unigram_.visit_prefixes(piece, at, [&](uint32_t token, size_t length) {
      if (length == bytes) whole_character = true;
      const double score = here + static_cast<double>(spec_.scores[token]);
      if (score > best[at + length].score) best[at + length] = {score, static_cast<uint32_t>(at), token};
    });
    if (!whole_character && here + unknown_score_ > best[at + bytes].score) {
      best[at + bytes] = {here + unknown_score_, static_cast<uint32_t>(at), kNoSymbol};
    }
    at += bytes;
  }
  // Backwards along the best path, then forwards through it.
  std::vector<uint32_t>& path = scratch.symbols;
  path.clear();
  for (size_t at = piece.size(); at > 0; at = best[at].from) path.push_back(static_cast<uint32_t>(at));
  bool previous_unknown = false;
  for (size_t i = path.size(); i-- > 0;) {
    const auto& step = best[path[i]];
    if (step.token != kNoSymbol) {
      out.push_back(static_cast<int32_t>(step.token));
      previous_unknown = false;
      continue;
    }
    const size_t before = out.size();
    emit_unknown(piece.substr(step.from, path[i] - step.from), out);
    const bool is_unknown = out.size() == before + 1 && out.back() == spec_.unknown_id;
    if (spec_.fuse_unknown && is_unknown && previous_unknown) out.pop_back();
    previous_unknown = is_unknown;
  }
}

void Vocabulary::emit_symbol(uint32_t first, std::vector<int32_t>& out) const {
  // An unused token may be made of unused ones: a stack, not recursion, for its length comes from a file.
  std::vector<uint32_t> todo;
  uint32_t s = first;
  while (true) {
    const auto parts = unused_.empty() ? unused_.end() : unused_.find(s);
    if (parts != unused_.end()) {
      todo.push_back(parts->second.second);
      s = parts->second.first;
      continue;
    }
    if (s < spec_.tokens.size()) {
      out.push_back(static_cast<int32_t>(s));
    } else {
      emit_unknown(extra_[s - spec_.tokens.size()], out);
    }
    if (todo.empty()) return;
    s = todo.back();
    todo.pop_back();
  }
}

// Text that no token stands for: character by character.
void Vocabulary::emit_unknown(std::string_view text, std::vector<int32_t>& out) const {
  for (size_t at = 0; at < text.size();) {
    const uint32_t bytes = decode_utf8(text, at).bytes;
    const auto character = text.substr(at, bytes);
    at += bytes;
    emit_unknown_character(character, out);
  }
}

void Vocabulary::emit_unknown_character(std::string_view character, std::vector<int32_t>& out) const {
  if (spec_.kind == ModelKind::kCharacterBpe || spec_.kind == ModelKind::kSentencePieceBpe) {
    // An extra symbol's characters may be tokens.
    if (const auto token = find(character)) {
      out.push_back(static_cast<int32_t>(*token));
      return;
    }
  }
  const auto has_byte = [&](char c) { return byte_ids_[static_cast<uint8_t>(c)] >= 0; };
  const bool bytes_serve = spec_.kind == ModelKind::kByteLevelBpe || spec_.byte_fallback;
  if (bytes_serve && std::all_of(character.begin(), character.end(), has_byte)) {
    for (const char c : character) out.push_back(byte_ids_[static_cast<uint8_t>(c)]);
    return;
  }
  if (spec_.kind == ModelKind::kByteLevelBpe) {
    // A byte without a token: U+FFFD if that can be spelled. Never the unknown token, which often is a special one.
    if (!std::all_of(kReplacementBytes.begin(), kReplacementBytes.end(), has_byte)) return;
    for (const char c : kReplacementBytes) out.push_back(byte_ids_[static_cast<uint8_t>(c)]);
    return;
  }
  if (spec_.unknown_id >= 0 && spec_.types[static_cast<size_t>(spec_.unknown_id)] != TokenType::kControl)
    out.push_back(spec_.unknown_id);
}

}  // namespace sluice::text
