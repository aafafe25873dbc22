// Strict reading of request bodies. parse_request_json() bounds a document before anything is built from it; FieldReader takes an object apart field by
// field, each with its range, and finish() refuses every field that nobody asked for, naming its nearest known neighbour: no misspelt field is ever
// ignored. Contract: the first refusal stays; later reads do nothing. Next: limits.h, api_error.h.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "server/api_error.h"

namespace sluice::server {

using Json = nlohmann::ordered_json;

// Of whole bodies: UTF-8 (a refusal names the byte), depth, keys, values, length of numbers, keys that occur twice.
Refused parse_request_json(std::string_view body, Json& out);
// The same, and the document must be an object.
Refused parse_request_object(std::string_view body, Json& out);

class FieldReader {
 public:
  // `path`: what error messages call the object; "" for the whole body.
  FieldReader(const Json& object, std::string path);

  // All leave `out` alone when the field is missing or null, and return whether it was there.
  bool boolean(std::string_view name, bool& out);
  bool integer(std::string_view name, int64_t low, int64_t high, int64_t& out);
  bool integer(std::string_view name, int64_t low, int64_t high, uint32_t& out);
  bool integer(std::string_view name, int64_t low, int64_t high, uint64_t& out);
  bool number(std::string_view name, double low, double high, double& out);
  bool number(std::string_view name, double low, double high, float& out);
  bool text(std::string_view name, size_t bytes_max, std::string& out);
  // One string or a list of them, none of them empty.
  bool texts(std::string_view name, size_t count_max, size_t bytes_max, std::vector<std::string>& out);
  bool integers(std::string_view name, size_t count_max, int64_t low, int64_t high, std::vector<int32_t>& out);
  // out: index of the word among `words`.
  bool word(std::string_view name, std::initializer_list<std::string_view> words, size_t& out);
  // Null if missing, null or of another type (which is refused).
  const Json* object(std::string_view name);
  const Json* array(std::string_view name, size_t count_max);
  const Json* any(std::string_view name);
  // A field that must be there.
  void require(std::string_view name);
  // Taken and without effect; documented in docs/server.md.
  void ignore(std::initializer_list<std::string_view> names);

  void refuse(std::string_view name, std::string message, std::string code = "invalid_value");
  void refuse(ApiError error);
  bool ok() const { return !refused_; }
  // "messages[2].content"
  std::string path_of(std::string_view name) const;
  // The first refusal, or that of an unknown field.
  Refused finish();

 private:
  const Json* find(std::string_view name);

  const Json& object_;
  std::string path_;
  std::vector<std::string> known_;
  Refused refused_;
};

// The known word that is nearest by edits, if it is near enough to be what was meant; else "".
std::string nearest_word(std::string_view word, const std::vector<std::string>& known);

// JSON text as a string literal, quotes included. Valid UTF-8 in; control characters, '"' and '\' are escaped.
void append_json_string(std::string& out, std::string_view text);

}  // namespace sluice::server
