// A chat as a tree of messages: every edit, retry and return to an earlier place is a branch, and nothing that was said is lost. Messages are numbered from
// 1 in the order in which they were said. Next: verb_run.cc, whose commands these are.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::cli {

class ChatTree {
 public:
  struct Message {
    std::string role, text;
    uint32_t parent = 0;  // 0: the first of its branch
  };

  // After the present end, which it becomes. Returns its number.
  uint32_t say(std::string role, std::string text);
  // Forgets the messages said since there were `count`.
  void forget(size_t count, uint32_t end);

  uint32_t end() const { return end_; }
  size_t size() const { return messages_.size(); }
  const Message& operator[](uint32_t number) const { return messages_[number - 1]; }
  std::vector<uint32_t> path() const;  // to the end, in order

  // What comes next follows message `number` (0: nothing).
  Status branch(uint64_t number);
  // Goes before user message `number`, to say it otherwise.
  Status before(uint64_t number);
  // Goes before the last user message.
  Status undo();

  // One line a message, children below their parents; a star marks the path.
  std::string drawing() const;
  nlohmann::ordered_json path_json() const;  // [{role, content}], as templates take it

  Status save(const std::filesystem::path& path) const;
  static Result<ChatTree> load(const std::filesystem::path& path);

 private:
  std::vector<Message> messages_;
  uint32_t end_ = 0;
};

}  // namespace sluice::cli
