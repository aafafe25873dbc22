#include "server/api_error.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace sluice::server {
namespace {

using Json = nlohmann::ordered_json;

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// Where the sentence does not name the field itself.
std::string with_field(const ApiError& error) {
  return error.param.empty() || error.message.find(error.param) != std::string::npos ? error.message : error.param + ": " + error.message;
}

// Anthropic's words by status.
std::string_view anthropic_error_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 498:
    case 503: return "overloaded_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

}  // namespace

ApiError bad_request(std::string param, std::string message, std::string code) {
  return {.status = 400, .type = {}, .code = std::move(code), .param = std::move(param), .message = std::move(message), .retry_after_s = 0};
}

ApiError to_api_error(const Refusal& refusal) {
  return {.status = refusal.status, .type = {}, .code = refusal.code, .param = {}, .message = refusal.message, .retry_after_s = refusal.retry_after_s};
}

std::string_view openai_error_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 498: return "capacity_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

std::string error_body(ErrorShape shape, const ApiError& error, std::string_view request_id) {
  Json out;
  switch (shape) {
    case ErrorShape::kOpenAi: {
      Json& inner = out["error"];
      inner["message"] = error.message;
      inner["type"] = error.type.empty() ? std::string(openai_error_type(error.status)) : error.type;
      inner["param"] = error.param.empty() ? Json(nullptr) : Json(error.param);
      inner["code"] = error.code.empty() ? Json(nullptr) : Json(error.code);
      break;
    }
    case ErrorShape::kAnthropic:
      out["type"] = "error";
      out["error"] = {{"type", anthropic_error_type(error.status)}, {"message", with_field(error)}};
      out["request_id"] = request_id;
      break;
    case ErrorShape::kAi21:
      out["detail"] = with_field(error);
      break;
  }
  return dumped(out);
}

HttpResponse error_response(ErrorShape shape, const ApiError& error, std::string_view request_id) {
  HttpResponse response;
  response.status = error.status;
  response.body = error_body(shape, error, request_id);
  if (error.retry_after_s > 0) response.headers.push_back({"retry-after", fmt::format("{}", error.retry_after_s)});
  return response;
}

}  // namespace sluice::server
