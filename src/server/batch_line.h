// One line of a batch's input file, and what stands of it in the output. Contract: any bytes give a line or a refusal with a sentence; the line's number is
// in every error. Next: batch_runner.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"
#include "server/kept_batches.h"

namespace sluice::server {

// The endpoints that a batch may ask, without the group's prefix.
inline constexpr std::string_view kBatchEndpoints[] = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"};

struct BatchLine {
  std::string custom_id;               // also where the line is refused, if it could be read
  std::string body;
};

Refused read_batch_line(std::string_view line, std::string_view endpoint, BatchLine& out);

// Where the lines are; empty ones are counted and left out. Refused: too many of them, or none.
Refused cut_batch(std::string_view file, std::vector<BatchSpan>& out);

// Lines of the files that a batch makes, without the line's end.
std::string batch_answer_line(const Batch& batch, uint64_t line, std::string_view custom_id, std::string_view request_id, const HttpResponse& response);
std::string batch_error_line(const Batch& batch, uint64_t line, std::string_view custom_id, std::string_view code, std::string_view message);

}  // namespace sluice::server
