#include "server/batch_line.h"

#include <fmt/format.h>

#include "server/json_fields.h"
#include "server/kept_limits.h"
#include "server/limits.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

std::string begin_line(const Batch& batch, uint64_t line, std::string_view custom_id) {
  std::string out = fmt::format("{{\"id\":\"batch_req_{:x}_{}\",\"custom_id\":", batch.number, line);
  if (custom_id.empty()) {
    out += "null";
  } else {
    append_json_string(out, custom_id);
  }
  return out;
}

void append_error(std::string& out, uint64_t line, std::string_view code, std::string_view message) {
  out += ",\"error\":{\"code\":";
  append_json_string(out, code);
  out += ",\"message\":";
  append_json_string(out, message);
  fmt::format_to(std::back_inserter(out), ",\"line\":{}}}}}", line);
}

}  // namespace

Refused read_batch_line(std::string_view line, std::string_view endpoint, BatchLine& out) {
  if (line.size() > limits::kBatchLineBytesMax) {
    return bad_request("", fmt::format("the line has {} bytes, the limit is {}", line.size(), limits::kBatchLineBytesMax), "line_too_large");
  }
  Json json;
  SLUICE_REFUSE(parse_request_object(line, json));
  FieldReader fields(json, "");
  fields.require("custom_id");
  if (fields.text("custom_id", limits::kNameBytesMax, out.custom_id) && out.custom_id.empty()) fields.refuse("custom_id", "custom_id is empty");
  size_t method = 0;
  fields.require("method");
  fields.word("method", {"POST"}, method);
  std::string url = std::string(endpoint);
  fields.require("url");
  if (fields.text("url", limits::kNameBytesMax, url) && url != endpoint) {
    fields.refuse("url", fmt::format("url is '{}', but the batch is for {}", text::shown(url), endpoint), "mismatched_endpoint");
  }
  fields.require("body");
  const Json* body = fields.object("body");
  if (body && body->contains("stream") && (*body)["stream"] == true) fields.refuse("body.stream", "a batch does not stream");
  SLUICE_REFUSE(fields.finish());
  out.body = body->dump(-1, ' ', false, Json::error_handler_t::replace);
  return {};
}

Refused cut_batch(std::string_view file, std::vector<BatchSpan>& out) {
  uint64_t line = 0;
  for (size_t at = 0; at < file.size();) {
    const size_t end = std::min(file.find('\n', at), file.size());
    size_t bytes = end - at;
    if (bytes > 0 && file[at + bytes - 1] == '\r') --bytes;
    ++line;
    if (file.substr(at, bytes).find_first_not_of(" \t") != std::string_view::npos) {
      if (out.size() == limits::kBatchLinesMax) {
        return bad_request("input_file_id", fmt::format("the file has more than {} lines", limits::kBatchLinesMax), "too_many_lines");
      }
      out.push_back({line, at, bytes});
    }
    at = end + 1;
  }
  if (out.empty()) return bad_request("input_file_id", "the file has no lines", "empty_file");
  return {};
}

std::string batch_answer_line(const Batch& batch, uint64_t line, std::string_view custom_id, std::string_view request_id, const HttpResponse& response) {
  std::string out = begin_line(batch, line, custom_id);
  fmt::format_to(std::back_inserter(out), ",\"response\":{{\"status_code\":{},\"request_id\":", response.status);
  append_json_string(out, request_id);
  out += ",\"body\":" + response.body + "}";  // one line: the writers put no line end into JSON
  if (response.status == 200) return out + ",\"error\":null}";
  const Json body = Json::parse(response.body, nullptr, false);
  std::string code = "request_failed", message = "the request was refused";
  if (body.is_object() && body.contains("error") && body["error"].is_object()) {
    const Json& error = body["error"];
    if (error.contains("code") && error["code"].is_string()) code = error["code"].get<std::string>();
    if (error.contains("message") && error["message"].is_string()) message = error["message"].get<std::string>();
  }
  append_error(out, line, code, message);
  return out;
}

std::string batch_error_line(const Batch& batch, uint64_t line, std::string_view custom_id, std::string_view code, std::string_view message) {
  std::string out = begin_line(batch, line, custom_id) + ",\"response\":null";
  append_error(out, line, code, message);
  return out;
}

}  // namespace sluice::server
