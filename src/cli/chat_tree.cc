#include "cli/chat_tree.h"

#include <fmt/format.h>

#include <algorithm>

#include "platform/file.h"

namespace sluice::cli {
namespace {

using nlohmann::ordered_json;

constexpr uint64_t kChatBytesMax = 64ull << 20;
constexpr size_t kLineBytes = 60;  // of a message in the drawing

std::string first_line(const std::string& text) {
  std::string line = text.substr(0, text.find('\n'));
  if (line.size() <= kLineBytes) return line.size() < text.size() ? line + " ..." : line;
  size_t cut = kLineBytes;
  while (cut > 0 && (static_cast<uint8_t>(line[cut]) & 0xC0) == 0x80) --cut;  // not inside a character
  return line.substr(0, cut) + " ...";
}

}  // namespace

uint32_t ChatTree::say(std::string role, std::string text) {
  messages_.push_back({std::move(role), std::move(text), end_});
  return end_ = static_cast<uint32_t>(messages_.size());
}

void ChatTree::forget(size_t count, uint32_t end) {
  messages_.resize(std::min(count, messages_.size()));
  end_ = end;
}

std::vector<uint32_t> ChatTree::path() const {
  std::vector<uint32_t> out;
  for (uint32_t n = end_; n != 0; n = (*this)[n].parent) out.push_back(n);
  std::reverse(out.begin(), out.end());
  return out;
}

Status ChatTree::branch(uint64_t number) {
  if (number > messages_.size()) return Error{fmt::format("there is no message {}: the last one is {} (/tree shows them)", number, messages_.size())};
  end_ = static_cast<uint32_t>(number);
  return {};
}

Status ChatTree::before(uint64_t number) {
  if (number == 0 || number > messages_.size()) {
    return Error{fmt::format("there is no message {}: they are numbered 1 to {} (/tree shows them)", number, messages_.size())};
  }
  const Message& message = (*this)[static_cast<uint32_t>(number)];
  if (message.role != "user") return Error{fmt::format("message {} is of role {}: only what you said can be edited", number, message.role)};
  end_ = message.parent;
  return {};
}

Status ChatTree::undo() {
  for (uint32_t n = end_; n != 0; n = (*this)[n].parent) {
    if ((*this)[n].role == "user") return before(n);
  }
  return Error{"there is nothing to undo"};
}

std::string ChatTree::drawing() const {
  const std::vector<uint32_t> on_path = path();
  std::string out;
  // Depth first; a child that is the only one stands below its parent without another step to the right.
  std::vector<std::pair<uint32_t, size_t>> todo;  // message, depth
  const auto push_children = [&](uint32_t parent, size_t depth) {
    std::vector<uint32_t> children;
    for (uint32_t n = 1; n <= messages_.size(); ++n) {
      if ((*this)[n].parent == parent) children.push_back(n);
    }
    const size_t deeper = depth + (children.size() > 1 ? 1 : 0);
    for (size_t i = children.size(); i > 0; --i) todo.push_back({children[i - 1], deeper});
  };
  push_children(0, 0);
  while (!todo.empty()) {
    const auto [n, depth] = todo.back();
    todo.pop_back();
    const bool here = std::find(on_path.begin(), on_path.end(), n) != on_path.end();
    out += fmt::format("{}{} {:3} {}: {}\n", std::string(2 * depth, ' '), here ? '*' : ' ', n, (*this)[n].role, first_line((*this)[n].text));
    push_children(n, depth);
  }
  return out;
}

ordered_json ChatTree::path_json() const {
  ordered_json out = ordered_json::array();
  for (const uint32_t n : path()) out.push_back({{"role", (*this)[n].role}, {"content", (*this)[n].text}});
  return out;
}

Status ChatTree::save(const std::filesystem::path& path) const {
  ordered_json out = {{"sluice_chat", 1}, {"end", end_}, {"messages", ordered_json::array()}};
  for (const Message& m : messages_) out["messages"].push_back({{"role", m.role}, {"content", m.text}, {"parent", m.parent}});
  const std::string text = out.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  SLUICE_TRY(platform::AtomicFile file, platform::AtomicFile::create(path));
  SLUICE_TRY_VOID(file.write(std::string_view(text)));
  return file.commit();
}

Result<ChatTree> ChatTree::load(const std::filesystem::path& path) {
  SLUICE_TRY(const std::string text, platform::read_whole_file(path, kChatBytesMax));
  const ordered_json json = ordered_json::parse(text, nullptr, false);
  const auto wrong = [&](const char* what) { return Error{fmt::format("{}: not a saved chat: {}", path.string(), what)}; };
  if (!json.is_object() || json.value("sluice_chat", ordered_json()) != 1) return wrong("\"sluice_chat\": 1 is missing");
  if (!json.contains("messages") || !json["messages"].is_array()) return wrong("there are no messages");
  ChatTree tree;
  for (const ordered_json& m : json["messages"]) {
    if (!m.is_object() || !m.contains("role") || !m["role"].is_string() || !m.contains("content") || !m["content"].is_string() ||
        !m.contains("parent") || !m["parent"].is_number_unsigned() || m["parent"].get<uint64_t>() > tree.messages_.size()) {
      return wrong("a message needs role, content and an earlier parent");
    }
    tree.messages_.push_back({m["role"].get<std::string>(), m["content"].get<std::string>(), m["parent"].get<uint32_t>()});
  }
  if (!json.contains("end") || !json["end"].is_number_unsigned() || json["end"].get<uint64_t>() > tree.messages_.size()) return wrong("no end");
  tree.end_ = json["end"].get<uint32_t>();
  return tree;
}

}  // namespace sluice::cli
