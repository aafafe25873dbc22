// Lists as OpenAI pages them: ?limit=, ?order=, ?after=. Contract: a parameter that nobody knows is refused with its nearest neighbour, as fields are.
#pragma once

#include <initializer_list>
#include <string_view>

#include "server/api_error.h"
#include "server/json_fields.h"
#include "server/kept_files.h"

namespace sluice::server {

// `more`: parameters of this route besides.
Refused read_page(const HttpRequest& request, uint32_t limit_default, uint32_t limit_max, std::initializer_list<std::string_view> more, Page& out);
// {"object": "list", "data", "first_id", "last_id", "has_more"}; ids from each entry's `id_field`.
Json list_json(Json data, bool more, std::string_view id_field);
void respond_json(const std::shared_ptr<Exchange>& exchange, const Json& json);

inline constexpr std::string_view kPageParameters =
    R"([{"name":"limit","in":"query","schema":{"type":"integer","minimum":1,"maximum":100}},)"
    R"({"name":"order","in":"query","schema":{"enum":["asc","desc"]}},{"name":"after","in":"query","schema":{"type":"string","maxLength":256}}])";

}  // namespace sluice::server
