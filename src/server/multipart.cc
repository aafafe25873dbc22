#include "server/multipart.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/utf8.h"

namespace sluice::server {
namespace {

constexpr size_t kPartsMax = 16;
constexpr size_t kHeaderBytesMax = 4096;
constexpr size_t kBoundaryBytesMax = 70;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
bool same(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}
std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The next `; name=value` of a header's value, quotes taken off. False at the end.
bool next_parameter(std::string_view& rest, std::string& name, std::string& value) {
  rest = trimmed(rest);
  if (rest.empty() || rest.front() != ';') return false;
  rest = trimmed(rest.substr(1));
  const size_t equals = rest.find_first_of("=;");
  if (equals == std::string_view::npos || rest[equals] == ';') return false;
  name.assign(trimmed(rest.substr(0, equals)));
  rest = trimmed(rest.substr(equals + 1));
  value.clear();
  if (!rest.empty() && rest.front() == '"') {
    size_t i = 1;
    for (; i < rest.size() && rest[i] != '"'; ++i) {
      if (rest[i] == '\\' && i + 1 < rest.size()) ++i;
      value += rest[i];
    }
    rest.remove_prefix(std::min(i + 1, rest.size()));
    return true;
  }
  const size_t end = std::min(rest.find(';'), rest.size());
  value.assign(trimmed(rest.substr(0, end)));
  rest.remove_prefix(end);
  return true;
}

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// RFC 5987: UTF-8''percent-encoded
std::string extended_value(std::string_view text) {
  const size_t quote = text.find('\''), second = quote == std::string_view::npos ? quote : text.find('\'', quote + 1);
  if (second != std::string_view::npos) text.remove_prefix(second + 1);
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size() && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0;
    out += escape ? static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2])) : text[i];
    if (escape) i += 2;
  }
  return out;
}

std::string valid(std::string_view text) {
  std::string out;
  text::append_valid_utf8(out, text);
  return out;
}

ApiError bad_form(std::string message) { return bad_request("", "the form is not multipart/form-data: " + std::move(message), "invalid_form"); }

Refused read_disposition(std::string_view header, FormPart& out) {
  while (!header.empty()) {
    const size_t end = std::min(header.find("\r\n"), header.size());
    const std::string_view line = header.substr(0, end);
    header.remove_prefix(std::min(end + 2, header.size()));
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return bad_form("a part has a header line without a colon");
    if (!same(trimmed(line.substr(0, colon)), "content-disposition")) continue;
    std::string_view rest = trimmed(line.substr(colon + 1));
    const size_t kind = std::min(rest.find(';'), rest.size());
    if (!same(trimmed(rest.substr(0, kind)), "form-data")) return bad_form("a part is not form-data");
    rest.remove_prefix(kind);
    std::string name, value;
    while (next_parameter(rest, name, value)) {
      if (same(name, "name")) out.name = valid(value);
      if (same(name, "filename") || same(name, "filename*")) {
        out.is_file = true;
        if (out.file_name.empty() || name.ends_with('*')) out.file_name = valid(name.ends_with('*') ? extended_value(value) : value);
      }
    }
  }
  if (out.name.empty()) return bad_form("a part has no name");
  return {};
}

}  // namespace

Refused parse_form(std::string_view content_type, std::string_view body, std::vector<FormPart>& out) {
  const size_t kind = std::min(content_type.find(';'), content_type.size());
  if (!same(trimmed(content_type.substr(0, kind)), "multipart/form-data")) {
    return ApiError{.status = 415, .code = "unsupported_media_type", .message = "files are sent as multipart/form-data"};
  }
  std::string boundary, name, value;
  for (std::string_view rest = content_type.substr(kind); next_parameter(rest, name, value);) {
    if (same(name, "boundary")) boundary = value;
  }
  if (boundary.empty() || boundary.size() > kBoundaryBytesMax) return bad_form("its boundary must have 1 to 70 bytes");
  const std::string mark = "\r\n--" + boundary;
  // The first boundary may stand at the very beginning.
  size_t at = body.starts_with(std::string_view(mark).substr(2)) ? mark.size() - 2 : body.find(mark);
  if (at == std::string_view::npos) return bad_form("its boundary does not occur");
  if (!body.starts_with(std::string_view(mark).substr(2))) at += mark.size();
  while (true) {
    std::string_view rest = body.substr(at);
    if (rest.starts_with("--")) return {};
    if (!rest.starts_with("\r\n")) return bad_form("a boundary's line goes on");
    if (out.size() == kPartsMax) return bad_form(fmt::format("it has more than {} parts", kPartsMax));
    const size_t header_end = rest.find("\r\n\r\n");
    if (header_end == std::string_view::npos || header_end > kHeaderBytesMax) return bad_form(fmt::format("a part's header has no end within {} bytes",
                                                                                                         kHeaderBytesMax));
    FormPart part;
    if (header_end > 0) SLUICE_REFUSE(read_disposition(rest.substr(2, header_end - 2), part));
    if (part.name.empty()) return bad_form("a part has no name");
    const size_t begin = at + header_end + 4;
    const size_t end = body.find(mark, begin);
    if (end == std::string_view::npos) return bad_form("its last boundary is missing");
    part.content = body.substr(begin, end - begin);
    out.push_back(std::move(part));
    at = end + mark.size();
  }
}

}  // namespace sluice::server
