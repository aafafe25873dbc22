#include "server/paging.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "server/limits.h"
#include "text/utf8.h"

namespace sluice::server {

Refused read_page(const HttpRequest& request, uint32_t limit_default, uint32_t limit_max, std::initializer_list<std::string_view> more, Page& out) {
  std::vector<std::string> known{"limit", "order", "after"};
  for (const std::string_view name : more) known.emplace_back(name);
  out.limit = limit_default;
  for (const auto& [name, value] : request.query) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      const std::string near = nearest_word(name, known);
      return bad_request(name, fmt::format("there is no parameter '{}' here{}", text::shown(name), near.empty() ? "" : "; did you mean " + near + "?"),
                         "unknown_parameter");
    }
    if (value.size() > limits::kNameBytesMax) {
      return bad_request(name, fmt::format("{} has {} bytes, the limit is {}", name, value.size(), limits::kNameBytesMax));
    }
    if (name == "limit") {
      const auto read = std::from_chars(value.data(), value.data() + value.size(), out.limit);
      if (read.ec != std::errc() || read.ptr != value.data() + value.size() || out.limit < 1 || out.limit > limit_max) {
        return bad_request("limit", fmt::format("limit is '{}': must be 1 to {}", text::shown(value), limit_max));
      }
    } else if (name == "order") {
      if (value != "asc" && value != "desc") return bad_request("order", fmt::format("order is '{}': must be asc or desc", text::shown(value)));
      out.descending = value == "desc";
    } else if (name == "after") {
      out.after = value;
    }
  }
  return {};
}

Json list_json(Json data, bool more, std::string_view id_field) {
  const auto id_of = [&](const Json& entry) { return entry.value(std::string(id_field), Json()); };
  Json out = {{"object", "list"}};
  out["first_id"] = data.empty() ? Json() : id_of(data.front());
  out["last_id"] = data.empty() ? Json() : id_of(data.back());
  out["has_more"] = more;
  out["data"] = std::move(data);
  return out;
}

void respond_json(const std::shared_ptr<Exchange>& exchange, const Json& json) {
  HttpResponse response;
  response.body = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  exchange->respond(std::move(response));
}

}  // namespace sluice::server
