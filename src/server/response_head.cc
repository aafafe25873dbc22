#include "server/response_head.h"

#include <fmt/format.h>

#include <algorithm>

#include "platform/clock.h"

namespace sluice::server {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  for (const char c : value) {
    if (c != '\r' && c != '\n' && c != '\0') out += c;
  }
  out += "\r\n";
}

}  // namespace

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 498: return "Flex Capacity Exceeded";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 507: return "Insufficient Storage";
    case 505: return "HTTP Version Not Supported";
    default: return "Answer";
  }
}

void append_response_head(const HttpResponse& response, const ResponseHead& head, std::string& out) {
  fmt::format_to(std::back_inserter(out), "HTTP/1.1 {} {}\r\n", response.status, reason_phrase(response.status));
  append_field(out, "date", head.date);
  if (!response.content_type.empty()) append_field(out, "content-type", response.content_type);
  if (head.chunked) {
    append_field(out, "transfer-encoding", "chunked");
    append_field(out, "cache-control", "no-cache");
    append_field(out, "x-accel-buffering", "no");  // nginx would hold events back
  } else if (!head.until_close && response.status != 204) {
    append_field(out, "content-length", fmt::format("{}", response.body.size()));
  }
  append_field(out, "x-request-id", head.request_id);
  append_field(out, "x-content-type-options", "nosniff");
  append_field(out, "connection", head.keep_alive ? "keep-alive" : "close");
  if (!head.cors_origin.empty()) {
    append_field(out, "access-control-allow-origin", head.cors_origin);
    append_field(out, "vary", "Origin");
  }
  for (const Header& header : response.headers) append_field(out, header.name, header.value);
  out += "\r\n";
}

std::vector<Header> preflight_headers() {
  return {{"access-control-allow-methods", "GET, POST, DELETE"},
          {"access-control-allow-headers", "authorization, content-type, x-api-key, anthropic-version, anthropic-beta"},
          {"access-control-max-age", "600"}};
}

std::string host_name(std::string_view host) {
  size_t end = host.size();
  if (host.starts_with('[')) {
    const size_t bracket = host.find(']');
    end = bracket == std::string_view::npos ? host.size() : bracket + 1;
  } else {
    end = std::min(host.find(':'), host.size());
  }
  std::string name(host.substr(0, end));
  std::transform(name.begin(), name.end(), name.begin(), lower);
  return name;
}

bool is_loopback_name(std::string_view name) {
  if (name == "localhost" || name == "[::1]" || name == "::1") return true;
  // 127.0.0.0/8, written as four numbers.
  if (!name.starts_with("127.")) return false;
  return std::count(name.begin(), name.end(), '.') == 3 && name.find_first_not_of("0123456789.") == std::string_view::npos;
}

bool host_allowed(std::string_view name, const Listen& listen, const std::vector<std::string>& allowed) {
  const auto in = [&](std::string_view wanted) { return std::find(allowed.begin(), allowed.end(), wanted) != allowed.end(); };
  if (in("*") || in(name)) return true;
  if (is_loopback_name(listen.host)) return is_loopback_name(name);
  return allowed.empty() || name == listen.host;
}

bool same_origin(std::string_view origin, std::string_view host) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!origin.starts_with(scheme)) continue;
    const std::string_view authority = origin.substr(scheme.size());
    return authority.size() == host.size() && std::equal(authority.begin(), authority.end(), host.begin(), [](char a, char b) { return lower(a) == lower(b); });
  }
  return false;
}

std::string_view secret_of(const HttpRequest& request) {
  std::string_view value = request.header("authorization");
  constexpr std::string_view kBearer = "bearer ";
  const bool bearer = value.size() > kBearer.size() && std::equal(kBearer.begin(), kBearer.end(), value.begin(), [](char a, char b) { return a == lower(b); });
  if (bearer) {
    value.remove_prefix(kBearer.size());
    while (value.starts_with(' ')) value.remove_prefix(1);
    return value;
  }
  value = request.header("x-api-key");
  return value.empty() ? request.header("api-key") : value;
}

std::string trace_id_of(std::string_view traceparent) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (traceparent.size() < 55 || traceparent[2] != '-' || traceparent[35] != '-') return {};
  const std::string_view id = traceparent.substr(3, 32);
  if (!std::all_of(id.begin(), id.end(), is_hex) || id.find_first_not_of('0') == std::string_view::npos) return {};
  return std::string(id);
}

std::string shown_path(std::string_view path) {
  std::string out;
  for (const char c : path.substr(0, 80)) out += c >= ' ' && c <= '~' ? c : '?';
  return out;
}

uint64_t steady_us() { return platform::now_ns() / 1000; }

}  // namespace sluice::server
