// Jurassic's answer: the prompt and each completion with their tokens, each token with its range in the text, its logprob as it was drawn and as the model
// had it, and the alternatives. Next: answer.h, ai21_routes.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/answer.h"

namespace sluice::server {

struct JurassicFacts {
  std::string id;
  std::string prompt_text;
  std::vector<int32_t> prompt;
  uint32_t choices = 1;
  uint32_t tops = 0;                   // alternatives of each token; 0: none, and the prompt's tokens have no logprobs
};

std::unique_ptr<AnswerWriter> make_jurassic_writer(const Api& api, JurassicFacts facts);

}  // namespace sluice::server
