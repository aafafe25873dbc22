// The steps of a pre-tokenizer. Splits with hand-written matchers are run together over one array of classified
// characters. Contract: text/pre_tokenizer.h. Next: text/pre_tokenizer_test.cc.
#include "text/pre_tokenizer.h"

#include <fmt/format.h>

#include "base/check.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

// Stands for a byte that is no UTF-8: in no class, so that matchers put it where they put control characters. The byte
// is kept in the code's place above Unicode, so that its length can be told.
constexpr uint32_t kInvalidByte = 0x110000;

uint32_t bytes_of(CharCode c) {
  const uint32_t code = code_of(c);
  return code >= kInvalidByte ? 1 : utf8_bytes(code);
}

void classify_text(std::string_view text, std::vector<CharCode>& chars) {
  chars.clear();
  chars.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    if (c.valid) {
      chars.push_back(classify(c.code));
    } else {
      chars.insert(chars.end(), c.bytes, kInvalidByte);
    }
    at += c.bytes;
  }
}

// Refines `cuts` (ends of pieces, in characters) by one splitter.
void refine(std::span<const CharCode> chars, Splitter splitter, const std::vector<size_t>& cuts,
            std::vector<size_t>& refined) {
  refined.clear();
  size_t begin = 0;
  for (const size_t end : cuts) {
    const auto piece = chars.subspan(begin, end - begin);
    size_t at = 0;
    size_t cut = 0;
    while (at < piece.size()) {
      const size_t length = splitter(piece, at);
      if (length == 0) {
        ++at;
        continue;
      }
      if (at > cut) refined.push_back(begin + at);
      at += length;
      cut = at;
      refined.push_back(begin + at);
    }
    if (cut < piece.size()) refined.push_back(end);
    begin = end;
  }
}

void add_part(std::vector<ByteRange>& parts, size_t begin, size_t end) {
  if (end > begin) parts.push_back({begin, end});
}

struct Part {
  ByteRange range;
  bool is_match;
};

// Matches and the gaps between them, in order.
std::vector<Part> parts_of(size_t bytes, const std::vector<ByteRange>& matches, bool invert) {
  std::vector<Part> parts;
  size_t at = 0;
  for (const ByteRange& match : matches) {
    if (match.begin > at) parts.push_back({{at, match.begin}, invert});
    parts.push_back({match, !invert});
    at = match.end;
  }
  if (at < bytes) parts.push_back({{at, bytes}, invert});
  return parts;
}

// Hugging Face's SplitDelimiterBehavior over one piece.
std::vector<ByteRange> apply_behavior(const std::vector<Part>& parts, SplitBehavior behavior) {
  std::vector<ByteRange> out;
  bool previous_match = false;
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const Part& part : parts) add_part(out, part.range.begin, part.range.end);
      break;
    case SplitBehavior::kRemoved:
      for (const Part& part : parts) {
        if (!part.is_match) add_part(out, part.range.begin, part.range.end);
      }
      break;
    case SplitBehavior::kContiguous:
      for (size_t i = 0; i < parts.size(); ++i) {
        if (i > 0 && parts[i].is_match == parts[i - 1].is_match) {
          out.back().end = parts[i].range.end;
        } else {
          add_part(out, parts[i].range.begin, parts[i].range.end);
        }
      }
      break;
    case SplitBehavior::kMergedWithPrevious:
      for (const Part& part : parts) {
        if (part.is_match && !previous_match && !out.empty()) {
          out.back().end = part.range.end;
        } else {
          add_part(out, part.range.begin, part.range.end);
        }
        previous_match = part.is_match;
      }
      break;
    case SplitBehavior::kMergedWithNext:
      for (size_t i = parts.size(); i-- > 0;) {
        if (parts[i].is_match && !previous_match && !out.empty()) {
          out.back().begin = parts[i].range.begin;
        } else {
          add_part(out, parts[i].range.begin, parts[i].range.end);
        }
        previous_match = parts[i].is_match;
      }
      std::vector<ByteRange>(out.rbegin(), out.rend()).swap(out);
      break;
  }
  return out;
}

// The piece with blanks replaced, perhaps one in front; cut before each replacement if the step says so.
void metaspace(const PreTokenizerStep& step, std::string_view piece, bool is_first, Pieces& out) {
  const size_t begin = out.text.size();
  const bool prefix = step.prefix == SpacePrefix::kAlways || (step.prefix != SpacePrefix::kNever && is_first);
  const bool has_prefix = piece.starts_with(' ') || piece.starts_with(step.text);
  if (prefix && !has_prefix) out.text += step.text;
  for (const char c : piece) {
    if (c == ' ') {
      out.text += step.text;
    } else {
      out.text += c;
    }
  }
  if (step.split_words && !step.text.empty()) {
    // MergedWithNext: a replacement begins a piece.
    for (size_t at = out.text.find(step.text, begin); at != std::string::npos;
         at = out.text.find(step.text, at + step.text.size())) {
      if (at > begin) out.ends.push_back(at);
    }
  }
  if (out.text.size() > begin) out.ends.push_back(out.text.size());
}

}  // namespace

Result<PreTokenizer> PreTokenizer::create(const std::vector<PreTokenizerStep>& steps) {
  PreTokenizer made;
  for (const PreTokenizerStep& spec : steps) {
    Step step{spec, nullptr, std::nullopt};
    if (spec.kind == PreTokenizerKind::kSplit) {
      if (spec.text.empty()) return Error{"a pre-tokenizer splits on an empty pattern"};
      if (spec.is_regex) step.splitter = find_splitter(spec.text);
      if (spec.is_regex && step.splitter == nullptr) {
        SLUICE_TRY(step.regex, SplitRegex::compile(spec.text));
      }
    }
    made.steps_.push_back(std::move(step));
  }
  return made;
}

Status PreTokenizer::split(std::string_view text, bool is_first, Pieces& pieces) const {
  pieces.text.assign(text);
  pieces.ends.clear();
  if (text.empty()) return {};
  pieces.ends.push_back(text.size());
  for (size_t i = 0; i < steps_.size();) {
    size_t fast = i;
    while (fast < steps_.size() && steps_[fast].is_fast()) ++fast;
    if (fast > i) {
      split_fast(i, fast, pieces);
      i = fast;
      continue;
    }
    const Step& step = steps_[i++];
    if (step.spec.kind == PreTokenizerKind::kSplit) {
      SLUICE_TRY_VOID(split_matches(step, pieces));
      continue;
    }
    Pieces rewritten;
    size_t begin = 0;
    for (const size_t end : pieces.ends) {
      const auto piece = std::string_view(pieces.text).substr(begin, end - begin);
      if (step.spec.kind == PreTokenizerKind::kPrefixSpace) {
        if (!piece.starts_with(' ')) rewritten.text += ' ';
        rewritten.text += piece;
        rewritten.ends.push_back(rewritten.text.size());
      } else {
        metaspace(step.spec, piece, is_first && begin == 0, rewritten);
      }
      begin = end;
    }
    pieces.text.swap(rewritten.text);
    pieces.ends.swap(rewritten.ends);
  }
  return {};
}

void PreTokenizer::split_fast(size_t first, size_t last, Pieces& pieces) const {
  // Pieces in characters: invalid bytes count as one character each.
  classify_text(pieces.text, pieces.chars);
  std::vector<size_t> cuts;
  if (pieces.ends.size() == 1) {
    cuts.push_back(pieces.chars.size());
  } else {
    size_t byte = 0;
    size_t next = 0;
    for (size_t i = 0; i < pieces.chars.size(); ++i) {
      byte += bytes_of(pieces.chars[i]);
      while (next < pieces.ends.size() && pieces.ends[next] <= byte) {
        cuts.push_back(i + 1);
        ++next;
      }
    }
  }
  std::vector<size_t> refined;
  for (size_t i = first; i < last; ++i) {
    refine(pieces.chars, steps_[i].splitter, cuts, refined);
    cuts.swap(refined);
  }
  pieces.ends.clear();
  size_t byte = 0;
  size_t at = 0;
  for (const size_t cut : cuts) {
    for (; at < cut; ++at) byte += bytes_of(pieces.chars[at]);
    pieces.ends.push_back(byte);
  }
  SLUICE_DCHECK(byte == pieces.text.size());
}

Status PreTokenizer::find_matches(const Step& step, std::string_view piece, std::vector<CharCode>& chars,
                                  std::vector<ByteRange>& matches) const {
  matches.clear();
  if (step.regex) return step.regex->find_all(piece, matches);
  if (step.splitter != nullptr) {
    classify_text(piece, chars);
    size_t byte = 0;
    for (size_t at = 0; at < chars.size();) {
      const size_t length = step.splitter(chars, at);
      const size_t begin = byte;
      for (size_t i = 0; i < std::max<size_t>(1, length); ++i) byte += bytes_of(chars[at + i]);
      if (length > 0) matches.push_back({begin, byte});
      at += std::max<size_t>(1, length);
    }
    return {};
  }
  for (size_t at = piece.find(step.spec.text); at != std::string_view::npos;
       at = piece.find(step.spec.text, at + step.spec.text.size())) {
    matches.push_back({at, at + step.spec.text.size()});
  }
  return {};
}

Status PreTokenizer::split_matches(const Step& step, Pieces& pieces) const {
  std::string kept;
  std::vector<size_t> ends;
  std::vector<ByteRange> matches;
  size_t begin = 0;
  for (const size_t end : pieces.ends) {
    const auto piece = std::string_view(pieces.text).substr(begin, end - begin);
    begin = end;
    SLUICE_TRY_VOID(find_matches(step, piece, pieces.chars, matches));
    for (const ByteRange& range :
         apply_behavior(parts_of(piece.size(), matches, step.spec.invert), step.spec.behavior)) {
      kept += piece.substr(range.begin, range.end - range.begin);
      ends.push_back(kept.size());
    }
  }
  pieces.text.swap(kept);
  pieces.ends.swap(ends);
  return {};
}

}  // namespace sluice::text
