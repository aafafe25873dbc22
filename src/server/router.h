// The table of routes: everything that the server answers is a line of it. Deny by default: a request that matches no line is refused, a line that does
// not say kOpen needs a key once there are keys, and checks happen on the line that will run, never on the path's spelling.
// Contract: built once before the server starts, then const. /openapi.json is made of the same lines. Next: exchange.h, openai_routes.h for an example.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "server/exchange.h"
#include "server/limits.h"

namespace sluice::server {

enum class Access : uint8_t {
  kKey,    // a valid key, once keys exist
  kOpen,   // nobody is asked: answers nothing about the model, its users or their data
  kAdmin,  // an admin key, and only on the admin port
};

// Whose shape errors have.
enum class ErrorShape : uint8_t { kOpenAi, kAnthropic, kAi21 };

using Handler = std::function<void(const std::shared_ptr<Exchange>&)>;

struct Route {
  std::string_view method;             // "GET"
  std::string_view pattern;            // "/v1/models/{model}": a segment in braces matches one segment; "{name...}" at the end matches the rest
  Handler handler;
  Access access = Access::kKey;
  bool fast = false;                   // runs on the I/O thread: for handlers of microseconds
  uint64_t body_bytes_max = limits::kBodyBytesMax;  // 0: the request has no body
  ErrorShape errors = ErrorShape::kOpenAi;
  std::shared_ptr<const HttpResponse> page;  // what a 401 shows instead of an error: a page that asks for the key; null: the error
  std::string_view summary;            // for /openapi.json
  std::string_view request_schema;     // JSON Schema of the body, as text, its media type before it if it is not JSON; of a GET: a list of query parameters
  std::string_view response_schema;    // of a 200, likewise; empty: any object
};

struct Match {
  const Route* route = nullptr;        // null: see allow
  std::vector<std::string> values;     // of the pattern's braces
  std::string allow;                   // the path is known for these methods: 405; empty: 404
};

class Router {
 public:
  // Two lines with the same method and pattern are a bug of ours.
  void add(Route route);
  void add(std::vector<Route> routes);
  // `path` is decoded. HEAD finds GET's line.
  Match find(std::string_view method, std::string_view path, bool admin_port) const;
  const std::vector<Route>& routes() const { return routes_; }
  // OpenAPI 3.1 of the lines that are not admin's.
  std::string openapi(std::string_view server_version) const;

 private:
  std::vector<Route> routes_;
};

}  // namespace sluice::server
