#include "server/batch_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "server/batch_line.h"
#include "server/file_routes.h"
#include "server/kept_limits.h"
#include "server/limits.h"
#include "server/openai_json.h"
#include "server/openai_routes.h"
#include "server/paging.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

constexpr int64_t kHour = 3600, kDay = 86'400;
constexpr int64_t kOutputKeptS = 30 * kDay;

constexpr std::string_view kBatchSchema = R"({"type":"object","required":["input_file_id","endpoint","completion_window"],"properties":{
"input_file_id":{"type":"string"},"endpoint":{"enum":["/v1/chat/completions","/v1/completions","/v1/embeddings","/v1/responses"]},
"completion_window":{"type":"string","pattern":"^[0-9]{1,3}[hd]$"},"metadata":{"type":["object","null"],"maxProperties":16},
"output_expires_after":{"type":"object","required":["anchor","seconds"],"properties":{"anchor":{"enum":["created_at"]},
 "seconds":{"type":"integer","minimum":3600,"maximum":2592000}}}},"additionalProperties":false})";

// "24h", "7d"; an hour to seven days.
Refused read_window(FieldReader& fields, int64_t& out) {
  std::string window;
  fields.require("completion_window");
  if (!fields.text("completion_window", 16, window)) return {};
  int64_t amount = 0;
  const auto read = std::from_chars(window.data(), window.data() + window.size(), amount);
  const std::string_view unit(read.ptr, static_cast<size_t>(window.data() + window.size() - read.ptr));
  const int64_t factor = unit == "h" ? kHour : unit == "d" ? kDay : 0;
  if (read.ec != std::errc() || factor == 0 || amount < 1 || amount > 7 * kDay / factor) {
    return bad_request("completion_window", fmt::format("completion_window is '{}': must be 1h to 168h, or 1d to 7d", text::shown(window)));
  }
  out = amount * factor;
  return {};
}

Refused read_metadata(FieldReader& fields, Json& out) {
  const Json* given = fields.object("metadata");
  if (!given) return {};
  if (given->size() > limits::kMetadataEntriesMax) {
    return bad_request("metadata", fmt::format("metadata has {} entries, the limit is {}", given->size(), limits::kMetadataEntriesMax));
  }
  for (const auto& [key, value] : given->items()) {
    const bool good = key.size() <= 64 && value.is_string() && value.get_ref<const std::string&>().size() <= 512;
    if (!good) return bad_request("metadata", "metadata: keys have at most 64 bytes, values are strings of at most 512");
  }
  out = *given;
  return {};
}

Refused create(Kept& kept, const std::shared_ptr<Exchange>& exchange) {
  Json json;
  SLUICE_REFUSE(parse_request_object(exchange->request().body, json));
  FieldReader fields(json, "");
  Batch batch{.id = answer_id("batch_", *exchange), .tenant = exchange->identity().tenant, .key = exchange->identity().key, .status = "validating",
              .keep_s = kOutputKeptS, .input = {}, .body = {}};
  std::string endpoint;
  int64_t window_s = 0;
  fields.require("input_file_id");
  fields.text("input_file_id", limits::kNameBytesMax, batch.input);
  fields.require("endpoint");
  if (fields.text("endpoint", limits::kNameBytesMax, endpoint)) {
    if (endpoint.starts_with("/openai/")) endpoint.erase(0, 7);
    if (std::find(std::begin(kBatchEndpoints), std::end(kBatchEndpoints), endpoint) == std::end(kBatchEndpoints)) {
      fields.refuse("endpoint", fmt::format("endpoint is '{}': must be one of {}", text::shown(endpoint), fmt::join(kBatchEndpoints, ", ")));
    }
  }
  SLUICE_REFUSE(read_window(fields, window_s));
  Json metadata;
  SLUICE_REFUSE(read_metadata(fields, metadata));
  if (const Json* expires = fields.object("output_expires_after")) {
    FieldReader inner(*expires, "output_expires_after");
    size_t anchor = 0;
    inner.require("anchor");
    inner.word("anchor", {"created_at"}, anchor);
    inner.require("seconds");
    inner.integer("seconds", kHour, kOutputKeptS, batch.keep_s);
    SLUICE_REFUSE(inner.finish());
  }
  SLUICE_REFUSE(fields.finish());
  KeptFile file;
  if (Refused refused = kept.files().get(batch.tenant, batch.input, file)) {
    refused->param = "input_file_id";
    return refused;
  }
  if (file.purpose != "batch") return bad_request("input_file_id", fmt::format("the file's purpose is '{}', not 'batch'", file.purpose));
  const int64_t now_s = kept.now_s();
  batch.ends_s = now_s + window_s;
  batch.body = {{"id", batch.id}, {"object", "batch"}, {"endpoint", endpoint}, {"errors", nullptr}, {"input_file_id", batch.input},
                {"completion_window", json["completion_window"]}, {"status", batch.status}, {"output_file_id", nullptr}, {"error_file_id", nullptr},
                {"created_at", now_s}, {"in_progress_at", nullptr}, {"expires_at", batch.ends_s}, {"finalizing_at", nullptr}, {"completed_at", nullptr},
                {"failed_at", nullptr}, {"expired_at", nullptr}, {"cancelling_at", nullptr}, {"cancelled_at", nullptr},
                {"request_counts", {{"total", 0}, {"completed", 0}, {"failed", 0}}}, {"metadata", metadata}};
  SLUICE_REFUSE(kept.batches().create(batch));
  respond_json(exchange, batch.body);
  return {};
}

Refused get(Kept& kept, const std::shared_ptr<Exchange>& exchange) {
  Batch batch;
  SLUICE_REFUSE(kept.batches().get(exchange->identity().tenant, exchange->request().path_values.at(0), batch));
  respond_json(exchange, batch.body);
  return {};
}

Refused list(Kept& kept, const std::shared_ptr<Exchange>& exchange) {
  Page page;
  SLUICE_REFUSE(read_page(exchange->request(), 20, limits::kPageMax, {}, page));
  std::vector<Batch> batches;
  bool more = false;
  SLUICE_REFUSE(kept.batches().list(exchange->identity().tenant, page, batches, more));
  Json data = Json::array();
  for (Batch& batch : batches) data.push_back(std::move(batch.body));
  respond_json(exchange, list_json(std::move(data), more, "id"));
  return {};
}

Refused cancel(Kept& kept, const std::shared_ptr<Exchange>& exchange) {
  Batch batch;
  SLUICE_REFUSE(kept.batches().cancel(exchange->identity().tenant, exchange->request().path_values.at(0), batch));
  respond_json(exchange, batch.body);
  return {};
}

}  // namespace

std::vector<Route> batch_routes(Kept& kept) {
  const auto handler = [&](auto action) { return action_handler(ErrorShape::kOpenAi, action, std::ref(kept)); };
  std::vector<Route> out;
  add_both(out, "/v1/batches", "/openai/v1/batches",
           {.method = "POST", .pattern = {}, .handler = handler(create), .summary = "Answers the lines of a file, at low priority",
            .request_schema = kBatchSchema});
  add_both(out, "/v1/batches", "/openai/v1/batches", {.method = "GET", .pattern = {}, .handler = handler(list), .body_bytes_max = 0,
                                                      .summary = "Your batches", .request_schema = kPageParameters});
  add_both(out, "/v1/batches/{batch}", "/openai/v1/batches/{batch}",
           {.method = "GET", .pattern = {}, .handler = handler(get), .body_bytes_max = 0, .summary = "How far a batch is"});
  add_both(out, "/v1/batches/{batch}/cancel", "/openai/v1/batches/{batch}/cancel",
           {.method = "POST", .pattern = {}, .handler = handler(cancel), .body_bytes_max = 4096, .summary = "Begins no more of a batch's lines"});
  return out;
}

}  // namespace sluice::server
