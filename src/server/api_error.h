// A refusal on its way to the client: status, machine-readable words and a sentence, put into the shape that the route's clients expect.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "server/admission.h"
#include "server/exchange.h"
#include "server/router.h"

namespace sluice::server {

struct ApiError {
  int status = 400;
  std::string type;      // OpenAI's: "invalid_request_error", "authentication_error", "rate_limit_error", "server_error"; empty: by status
  std::string code;      // stable word
  std::string param;     // the field, as a path: "messages[2].content"
  std::string message;
  uint64_t retry_after_s = 0;  // 0: no header
};

// Empty: all is well.
using Refused = std::optional<ApiError>;

#define SLUICE_CONCAT_REFUSED2(a, b) a##b
#define SLUICE_CONCAT_REFUSED(a, b) SLUICE_CONCAT_REFUSED2(a, b)
// Returns from the calling function with the ApiError of `expression` if it holds one.
#define SLUICE_REFUSE(expression) \
  if (auto SLUICE_CONCAT_REFUSED(refused_, __LINE__) = (expression)) return SLUICE_CONCAT_REFUSED(refused_, __LINE__)

ApiError bad_request(std::string param, std::string message, std::string code = "invalid_value");
ApiError to_api_error(const Refusal& refusal);

// "invalid_request_error" and so on.
std::string_view openai_error_type(int status);

// The body alone, in the route's shape; and the whole answer with Retry-After.
std::string error_body(ErrorShape shape, const ApiError& error, std::string_view request_id);
HttpResponse error_response(ErrorShape shape, const ApiError& error, std::string_view request_id);

}  // namespace sluice::server
