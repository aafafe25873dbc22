// The small print of HTTP: an answer's header as text, and what request headers say about where a request comes from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/exchange.h"
#include "server/http.h"

namespace sluice::server {

struct ResponseHead {
  bool keep_alive = true;
  bool chunked = false;
  bool until_close = false;  // neither a length nor chunks (streams in HTTP/1.0)
  std::string_view cors_origin;
  std::string_view request_id;
  std::string_view date;
};

// Header values lose line breaks, so that nothing can be written between the lines.
void append_response_head(const HttpResponse& response, const ResponseHead& head, std::string& out);
std::string_view reason_phrase(int status);
std::vector<Header> preflight_headers();

// "Example.com:80" to "example.com", "[::1]:80" to "[::1]".
std::string host_name(std::string_view host);
// Against DNS rebinding: on a loopback address only names of this machine, and those allowed.
bool host_allowed(std::string_view name, const Listen& listen, const std::vector<std::string>& allowed);
bool is_loopback_name(std::string_view name);
// "https://host:port" is the page's own server.
bool same_origin(std::string_view origin, std::string_view host);
// Of Authorization: Bearer, x-api-key or api-key; empty: none.
std::string_view secret_of(const HttpRequest& request);
// W3C trace context: the 32 digits, or empty.
std::string trace_id_of(std::string_view traceparent);
// At most 80 printable characters.
std::string shown_path(std::string_view path);
uint64_t steady_us();

}  // namespace sluice::server
