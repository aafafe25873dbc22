// What a Conversation holds, and how an engine's answer comes to the thread that asked. For library/*.cc only.
#pragma once

#include <nlohmann/json.hpp>

#include <condition_variable>

#include "library/model_impl.h"

namespace sluice {

struct Conversation::Impl {
  enum class Kind : uint8_t { kEmpty, kText, kMessages };
  struct Message {
    std::string role, text;
  };

  std::shared_ptr<Model::Impl> model;
  Kind kind = Kind::kEmpty;
  std::vector<int32_t> tokens;      // of a text; of messages: as they were read last
  std::vector<Message> messages;

  Status becomes(Kind wanted);
  // What the model reads; with the beginning of an answer behind messages if `for_answer`.
  Result<std::vector<int32_t>> prompt(bool for_answer) const;
  // One request from beginning to end. Without `on_piece` nothing can stop it.
  Result<Answer> run(engine::Request request, const std::function<bool(const Piece&)>& on_piece) const;
  Result<Answer> generate(const GenerateOptions& options);
  Status read();
  Status save(const std::string& file) const;
  nlohmann::ordered_json to_json() const;
};

}  // namespace sluice
