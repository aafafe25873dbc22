#include "weights/json.h"

#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "weights/names.h"

namespace sluice::weights {
namespace {

using Json = nlohmann::json;

constexpr char kMarker = '\x01';
constexpr std::string_view kMarkerEscape = "\\u0001";
constexpr std::string_view kNonFinite[] = {"-Infinity", "Infinity", "NaN"};

std::optional<double> non_finite(std::string_view text) {
  if (text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

// Length of the string that begins at text[at] (a quote), with both quotes; npos if it does not end.
size_t string_length(std::string_view text, size_t at) {
  for (size_t i = at + 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      return i + 1 - at;
    }
  }
  return std::string_view::npos;
}

std::string_view non_finite_at(std::string_view text, size_t at) {
  for (const std::string_view word : kNonFinite) {
    if (text.substr(at, word.size()) == word) return word;
  }
  return {};
}

// Builds the document. nlohmann's own builder takes the last of two equal keys in silence.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(bool marked) : marked_(marked) {}

  bool null() override { return put(Json(nullptr)) != nullptr; }
  bool boolean(bool value) override { return put(Json(value)) != nullptr; }
  bool number_integer(number_integer_t value) override { return put(Json(value)) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return put(Json(value)) != nullptr; }
  bool number_float(number_float_t value, const string_t&) override { return put(Json(value)) != nullptr; }
  bool binary(binary_t&) override { return false; }  // never sent for text
  bool string(string_t& value) override {
    if (const auto number = marked_number(value)) return put(Json(*number)) != nullptr;
    return put(Json(std::move(value))) != nullptr;
  }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override {
    open_.pop_back();
    return true;
  }
  bool end_object() override {
    Json& object = *open_.back();
    open_.pop_back();
    if (object.size() == 1 && object.begin().key() == "__float__" && object.begin()->is_string()) {
      if (const auto number = non_finite(object.begin()->get_ref<const std::string&>())) object = *number;
    }
    return true;
  }
  bool key(string_t& value) override {
    if (marked_number(value)) {
      error_ = "a key must be a string";
      return false;
    }
    if (open_.back()->contains(value)) {
      error_ = "key " + shown(value) + " occurs twice in one object";
      return false;
    }
    key_ = std::move(value);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& exception) override {
    error_ = json_error_text(exception.what());
    return false;
  }

  const std::string& error() const { return error_; }
  Json take() { return std::move(root_); }

 private:
  // Objects keep their elements in place; an array only grows while none of its elements is open. So the pointers stay good.
  Json* put(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }
  bool open(Json value) {
    open_.push_back(put(std::move(value)));
    return true;
  }

  std::optional<double> marked_number(const std::string& text) const {
    if (!marked_ || text.empty() || text.front() != kMarker) return std::nullopt;
    return non_finite(std::string_view(text).substr(1));
  }

  const bool marked_;  // the scan has put markers into the text
  Json root_;
  std::vector<Json*> open_;
  std::string key_;
  std::string error_;
};

}  // namespace

std::string json_error_text(const char* what) {
  const std::string_view text = what;
  const size_t end = text.find("] ");
  return std::string(text.starts_with("[json.exception.") && end != std::string_view::npos ? text.substr(end + 2) : text);
}

Status scan_json(std::string_view text, const JsonLimits& limits, std::string& rewritten) {
  rewritten.clear();
  uint64_t depth = 0;
  size_t copied = 0;
  size_t run = 0;  // where the number, word or space that i is in began
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (i - run > limits.token_bytes_max) {
      return Error{"the number or space at byte " + std::to_string(run) + " is longer than " + std::to_string(limits.token_bytes_max) + " bytes"};
    }
    if (c == '"') {
      const size_t length = string_length(text, i);
      if (length == std::string_view::npos) return Error{"the string that begins at byte " + std::to_string(i) + " does not end"};
      if (length - 2 > limits.token_bytes_max) {
        return Error{"the string at byte " + std::to_string(i) + " is " + std::to_string(length - 2) + " bytes long, the limit is " +
                     std::to_string(limits.token_bytes_max)};
      }
      i += length - 1;
      run = i + 1;
    } else if (c == ',' || c == ':') {
      run = i + 1;
    } else if (c == '{' || c == '[') {
      run = i + 1;
      if (++depth > limits.depth_max) {
        return Error{"brackets are nested deeper than " + std::to_string(limits.depth_max) + " at byte " + std::to_string(i)};
      }
    } else if (c == '}' || c == ']') {
      run = i + 1;
      if (depth > 0) --depth;
    } else if (limits.non_finite && (c == '-' || c == 'I' || c == 'N')) {
      const std::string_view word = non_finite_at(text, i);
      if (word.empty()) continue;
      rewritten += text.substr(copied, i - copied);
      rewritten += "\"" + std::string(kMarkerEscape) + std::string(word) + "\"";
      i += word.size() - 1;
      copied = i + 1;
    }
  }
  if (copied == 0) return {};
  if (text.find(kMarkerEscape) != std::string_view::npos) return Error{"a string holds the control character U+0001"};
  rewritten += text.substr(copied);
  return {};
}

Status sax_json(std::string_view text, const JsonLimits& limits, nlohmann::json_sax<Json>& handler, const std::string& handler_error) {
  std::string unused;
  SLUICE_TRY_VOID(scan_json(text, limits, unused));
  if (!Json::sax_parse(text, &handler)) return Error{handler_error};
  return {};
}

Result<Json> parse_config(std::string_view text) {
  std::string rewritten;
  const JsonLimits limits{limits::kJsonDepthMax, limits::kConfigBytesMax, true};
  SLUICE_TRY_VOID(scan_json(text, limits, rewritten));
  Builder builder(!rewritten.empty());
  if (!Json::sax_parse(rewritten.empty() ? text : std::string_view(rewritten), &builder)) return Error{builder.error()};
  return builder.take();
}

}  // namespace sluice::weights
