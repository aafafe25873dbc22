#include "weights/names.h"

#include <algorithm>
#include <cstdint>

#include "base/limits.h"

namespace sluice::weights {
namespace {

constexpr size_t kQuotedBytesMax = 80;
constexpr size_t kFileNameBytesMax = 255;  // NAME_MAX

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

bool has_control(std::string_view text) { return std::any_of(text.begin(), text.end(), is_control); }

// Bytes of the well-formed sequence at the front of `text`, 0 if there is none.
size_t sequence_bytes(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint32_t>(static_cast<unsigned char>(text[i])) : 0u; };
  const uint32_t first = byte(0);
  if (first < 0x80) return 1;
  const auto tail = [&](size_t i) { return byte(i) >= 0x80 && byte(i) <= 0xBF; };
  if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const uint32_t low = first == 0xE0 ? 0xA0 : 0x80;
    const uint32_t high = first == 0xED ? 0x9F : 0xBF;
    return byte(1) >= low && byte(1) <= high && tail(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const uint32_t low = first == 0xF0 ? 0x90 : 0x80;
    const uint32_t high = first == 0xF4 ? 0x8F : 0xBF;
    return byte(1) >= low && byte(1) <= high && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t count = sequence_bytes(text);
    if (count == 0) return false;
    text.remove_prefix(count);
  }
  return true;
}

std::string to_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t count = sequence_bytes(text);
    out += count == 0 ? std::string_view("\xEF\xBF\xBD") : text.substr(0, count);
    text.remove_prefix(std::max<size_t>(count, 1));
  }
  return out;
}

std::string shown(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  const bool cut = text.size() > kQuotedBytesMax;
  if (cut) text = text.substr(0, kQuotedBytesMax);
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F) {
      out += c;
    } else {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15u];
    }
  }
  out += cut ? "...\"" : "\"";
  return out;
}

Status check_tensor_name(std::string_view name) {
  if (name.empty()) return Error{"a tensor has no name"};
  if (name.size() > limits::kTensorNameBytesMax) {
    return Error{"tensor name " + shown(name) + " is " + std::to_string(name.size()) + " bytes long, the limit is " +
                 std::to_string(limits::kTensorNameBytesMax)};
  }
  if (has_control(name)) return Error{"tensor name " + shown(name) + " contains a control character"};
  if (!is_utf8(name)) return Error{"tensor name " + shown(name) + " is not UTF-8"};
  return {};
}

Status check_file_name(std::string_view name) {
  const auto refuse = [&](const char* why) { return Error{"file name " + shown(name) + " is refused: " + why}; };
  if (name.empty()) return refuse("it is empty");
  if (name.size() > kFileNameBytesMax) return refuse("it is longer than 255 bytes");
  if (name.find('/') != std::string_view::npos || name.find('\\') != std::string_view::npos) return refuse("only plain names in the model's folder are read");
  if (name.front() == '.') return refuse("it begins with a dot");
  if (has_control(name)) return refuse("it contains a control character");
  if (!is_utf8(name)) return refuse("it is not UTF-8");
  return {};
}

}  // namespace sluice::weights
