// Unicode forms come from utf8proc, a stretch at a time.
// Contract: text/normalizer.h.
// Next: text/normalizer_test.cc.
#include "text/normalizer.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

#include "base/check.h"
#include "text/char_class.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

constexpr int kComposed = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
constexpr int kDecomposed = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;

// utf8proc orders marks by exchanging neighbours, quadratic in the run: longer runs than this (Unicode's stream-safe
// format allows 30) are cut. Nothing real has them; an attacker's megabyte of marks would take hours.
constexpr int kMarksMax = 64;

// Below this code a form changes nothing, unless a later character follows closely.
uint32_t inert_below(NormalizerKind kind) {
  return kind == NormalizerKind::kNfc ? 0x300 : 0x80;
}

int options_of(NormalizerKind kind) {
  switch (kind) {
    case NormalizerKind::kNfd:
      return kDecomposed;
    case NormalizerKind::kNfkc:
      return kComposed | UTF8PROC_COMPAT;
    case NormalizerKind::kNfkd:
      return kDecomposed | UTF8PROC_COMPAT;
    default:
      return kComposed;
  }
}

void append_form(std::string_view stretch, int options, std::string& out) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t bytes =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(stretch.data()),
                   static_cast<utf8proc_ssize_t>(stretch.size()), &mapped, static_cast<utf8proc_option_t>(options));
  if (bytes >= 0) {
    out.append(reinterpret_cast<const char*>(mapped), static_cast<size_t>(bytes));
  } else {
    out.append(stretch);
  }
  std::free(mapped);
}

// One stretch is: a character, then all that follow with a code of at least `inert`.
std::string unicode_form(std::string_view text, NormalizerKind kind) {
  const bool ascii = std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; });
  if (ascii) return std::string(text);
  const uint32_t inert = inert_below(kind);
  const int options = options_of(kind);
  std::string out;
  out.reserve(text.size());
  size_t begin = 0;  // of the stretch in hand
  bool plain = true;
  int marks = 0;
  const auto flush = [&](size_t end) {
    if (plain) {
      out.append(text.substr(begin, end - begin));
    } else {
      append_form(text.substr(begin, end - begin), options, out);
    }
    begin = end;
    plain = true;
  };
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    if (!c.valid) {
      flush(at);
      out.append(text.substr(at, c.bytes));
      at += c.bytes;
      begin = at;
      continue;
    }
    if (c.code < inert) {
      flush(at);
      plain = c.code < 0x80 || kind == NormalizerKind::kNfc;
      marks = 0;
    } else {
      const bool is_mark = utf8proc_get_property(static_cast<utf8proc_int32_t>(c.code))->combining_class != 0;
      marks = is_mark ? marks + 1 : 0;
      if (marks > kMarksMax) {
        flush(at);
        marks = 0;
      }
      plain = false;
    }
    at += c.bytes;
  }
  flush(text.size());
  return out;
}

template <class Append>
std::string map_characters(std::string_view text, Append append) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    if (c.valid) {
      append(out, c.code);
    } else {
      out.append(text.substr(at, c.bytes));
    }
    at += c.bytes;
  }
  return out;
}

std::string lowercased(std::string_view text) {
  return map_characters(text, [](std::string& out, uint32_t code) {
    if (code == 0x130) {  // the one letter whose small form is two characters
      out += "i\xCC\x87";
      return;
    }
    append_utf8(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
  });
}

std::string without_accents(std::string_view text) {
  return map_characters(text, [](std::string& out, uint32_t code) {
    if (!has(classify(code), kMark)) append_utf8(out, code);
  });
}

std::string stripped(std::string_view text, bool left, bool right) {
  size_t begin = 0;
  size_t end = 0;  // after the last character that is no space
  bool leading = true;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    const bool space = c.valid && has(classify(c.code), kSpace);
    at += c.bytes;
    if (space && leading) begin = at;
    if (!space) {
      leading = false;
      end = at;
    }
  }
  if (!left) begin = 0;
  if (!right) end = text.size();
  return std::string(text.substr(begin, end > begin ? end - begin : 0));
}

std::string collapsed(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == ' ' && (out.empty() || out.back() == ' ')) continue;
    out += c;
  }
  // SentencePiece trims its own sign for a blank too, when a text ends in it.
  constexpr std::string_view kMetaspace = "\xE2\x96\x81";
  while (out.ends_with(' ') || out.ends_with(kMetaspace))
    out.resize(out.size() - (out.ends_with(' ') ? 1 : kMetaspace.size()));
  return out;
}

Result<std::string> replaced(std::string_view text, const NormalizerStep& step,
                             const std::optional<SplitRegex>& regex) {
  std::vector<ByteRange> matches;
  if (regex) {
    SLUICE_TRY_VOID(regex->find_all(text, matches));
  } else {
    for (size_t at = text.find(step.text); at != std::string_view::npos;
         at = text.find(step.text, at + step.text.size())) {
      matches.push_back({at, at + step.text.size()});
    }
  }
  std::string out;
  size_t at = 0;
  for (const ByteRange& match : matches) {
    out.append(text.substr(at, match.begin - at));
    out += step.replacement;
    at = match.end;
    if (out.size() > 16 * text.size() + (1u << 20))
      return Error{fmt::format("a normalizer makes more than {} bytes of {}", out.size(), text.size())};
  }
  out.append(text.substr(at));
  return out;
}

}  // namespace

Result<Normalizer> Normalizer::create(const std::vector<NormalizerStep>& steps) {
  Normalizer made;
  for (const NormalizerStep& spec : steps) {
    Step step{spec, std::nullopt, std::nullopt};
    if (spec.kind == NormalizerKind::kCharsmap) {
      SLUICE_TRY(step.charsmap, Charsmap::parse(spec.text));
    }
    if (spec.kind == NormalizerKind::kReplace) {
      if (spec.text.empty()) return Error{"a normalizer replaces an empty pattern"};
      if (spec.is_regex) {
        SLUICE_TRY(step.regex, SplitRegex::compile(spec.text));
      }
    }
    made.steps_.push_back(std::move(step));
  }
  return made;
}

Status Normalizer::apply_step(const Step& step, std::string& text) {
  switch (step.spec.kind) {
    case NormalizerKind::kNfc:
    case NormalizerKind::kNfd:
    case NormalizerKind::kNfkc:
    case NormalizerKind::kNfkd:
      text = unicode_form(text, step.spec.kind);
      break;
    case NormalizerKind::kLowercase:
      text = lowercased(text);
      break;
    case NormalizerKind::kPrepend:
      if (!text.empty()) text.insert(0, step.spec.text);
      break;
    case NormalizerKind::kReplace: {
      SLUICE_TRY(text, replaced(text, step.spec, step.regex));
      break;
    }
    case NormalizerKind::kStrip:
      text = stripped(text, step.spec.left, step.spec.right);
      break;
    case NormalizerKind::kCharsmap: {
      std::string out;
      SLUICE_TRY_VOID(step.charsmap->apply(text, out));
      text.swap(out);
      break;
    }
    case NormalizerKind::kCollapseSpaces:
      text = collapsed(text);
      break;
    case NormalizerKind::kStripAccents:
      text = without_accents(text);
      break;
  }
  return {};
}

Result<std::string> Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) SLUICE_TRY_VOID(apply_step(step, out));
  return out;
}

}  // namespace sluice::text
