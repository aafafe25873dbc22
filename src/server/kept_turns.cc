#include "server/kept_turns.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "server/kept_limits.h"
#include "server/limits.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

constexpr uint64_t kChainBytesMax = limits::kBodyBytesMax;  // of messages: as a client could send at once

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }
std::span<const std::byte> bytes_of(const std::vector<int32_t>& ids) { return std::as_bytes(std::span(ids)); }
std::vector<int32_t> ids_of(const std::string& bytes) {
  std::vector<int32_t> out(bytes.size() / sizeof(int32_t));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size() * sizeof(int32_t));
  return out;
}

ApiError not_there(std::string_view what, std::string_view field, std::string_view id) {
  return {.status = 404, .code = fmt::format("{}_not_found", what), .param = std::string(field),
          .message = fmt::format("there is no {} '{}': it never was, was deleted, or had to make room", what, text::shown(id))};
}

}  // namespace

Refused KeptTurns::add(const Turn& turn, std::string_view conversation) {
  const std::string messages = dumped(turn.messages), input = dumped(turn.input), body = dumped(turn.body);
  const uint64_t bytes = messages.size() + input.size() + body.size() + turn.seam.answer.size() * sizeof(int32_t) + 256;
  const auto lock = database_.lock();
  Transaction transaction(database_);
  if (!transaction.begun()) return database_.refusal("keep the response");
  {
    Statement insert(database_, "INSERT OR REPLACE INTO turns (id, tenant, parent, used_s, bytes, shown, prompt_bytes, prompt_hash, messages, input, body,"
                                " tokens) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    insert.bind(turn.id).bind(turn.tenant).bind(turn.parent).bind(now_s_()).bind(bytes).bind(turn.shown ? 1 : 0);
    insert.bind(turn.seam.prompt_bytes).bind(turn.seam.prompt_hash).bind(messages).bind(input).bind(body);
    if (!insert.bind_bytes(bytes_of(turn.seam.answer)).done()) return database_.refusal("keep the response");
  }
  if (!conversation.empty()) {
    Statement head(database_, "UPDATE conversations SET head = ?, used_s = ? WHERE tenant = ? AND name = ?");
    if (!head.bind(turn.id).bind(now_s_()).bind(turn.tenant).bind(conversation).done()) return database_.refusal("keep the turn");
  }
  SLUICE_REFUSE(bound(turn.tenant));
  if (!transaction.commit()) return database_.refusal("keep the response");
  return {};
}

Refused KeptTurns::bound(uint32_t tenant) {
  Statement oldest(database_, "DELETE FROM turns WHERE number IN (SELECT number FROM turns WHERE tenant = ? ORDER BY used_s, number LIMIT ?)");
  const uint64_t most = database_.options().bytes_max / 2;
  while (true) {
    Statement mine(database_, "SELECT count(*), coalesce(sum(bytes), 0) FROM turns WHERE tenant = ?");
    if (!mine.bind(tenant).row()) return database_.refusal("count the responses");
    const auto count = static_cast<uint64_t>(mine.integer(0)), bytes = static_cast<uint64_t>(mine.integer(1));
    if (count <= 1 || (count <= limits::kTurnsMax && bytes <= most / 4)) break;
    const uint64_t over = count > limits::kTurnsMax ? count - limits::kTurnsMax : 1;
    if (!oldest.again().bind(tenant).bind(over).done()) return database_.refusal("make room for the response");
  }
  while (true) {
    Statement all(database_, "SELECT tenant, sum(bytes) AS held, sum(sum(bytes)) OVER (), count(*) FROM turns GROUP BY tenant ORDER BY held DESC LIMIT 1");
    if (!all.row()) return all.ok() ? Refused{} : database_.refusal("count the responses");
    if (static_cast<uint64_t>(all.integer(2)) <= most || all.integer(3) <= 1) return {};
    const int64_t largest = all.integer(0);
    if (!oldest.again().bind(largest).bind(1).done()) return database_.refusal("make room for the response");
  }
}

Refused KeptTurns::select(uint32_t tenant, std::string_view id, Turn& out, bool& found, std::string_view columns_where) {
  Statement row(database_, std::string(columns_where).c_str());
  found = row.bind(id).bind(tenant).row();
  if (!found) return row.ok() ? Refused{} : database_.refusal("read the responses");
  out.id = row.text(0);
  out.tenant = tenant;
  out.parent = row.text(1);
  out.shown = row.integer(2) != 0;
  out.seam = {static_cast<uint64_t>(row.integer(3)), static_cast<uint64_t>(row.integer(4)), ids_of(row.text(5))};
  out.messages = Json::parse(row.text(6), nullptr, false);
  out.input = Json::parse(row.text(7), nullptr, false);
  out.body = Json::parse(row.text(8), nullptr, false);
  return {};
}

Refused KeptTurns::get(uint32_t tenant, std::string_view id, Turn& out) {
  const auto lock = database_.lock();
  bool found = false;
  SLUICE_REFUSE(select(tenant, id, out, found, "SELECT id, parent, shown, prompt_bytes, prompt_hash, tokens, messages, input, body FROM turns"
                                               " WHERE id = ? AND tenant = ? AND shown = 1"));
  if (!found) return not_there("response", "response_id", id);
  return {};
}

Refused KeptTurns::remove(uint32_t tenant, std::string_view id) {
  const auto lock = database_.lock();
  Statement gone(database_, "DELETE FROM turns WHERE id = ? AND tenant = ? AND shown = 1");
  if (!gone.bind(id).bind(tenant).done()) return database_.refusal("delete the response");
  if (database_.changes() == 0) return not_there("response", "response_id", id);
  return {};
}

Refused KeptTurns::chain(uint32_t tenant, std::string_view id, std::string_view field, std::vector<Turn>& out) {
  const auto lock = database_.lock();
  std::string next(id);
  uint64_t bytes = 0;
  while (!next.empty()) {
    if (out.size() >= limits::kTurnsChainedMax) {
      return ApiError{.status = 400, .code = "too_many_turns", .param = std::string(field),
                      .message = fmt::format("more than {} turns behind one another: begin anew", limits::kTurnsChainedMax)};
    }
    bool found = false;
    Turn turn;
    SLUICE_REFUSE(select(tenant, next, turn, found, "SELECT id, parent, shown, prompt_bytes, prompt_hash, tokens, messages, '[]', 'null' FROM turns"
                                                    " WHERE id = ? AND tenant = ?"));
    if (!found) return not_there("previous_response", field, next);
    for (const Json& message : turn.messages) bytes += message.size() > 0 ? message.value("content", std::string()).size() : 0;
    if (bytes > kChainBytesMax) {
      return ApiError{.status = 413, .code = "conversation_too_large", .param = std::string(field),
                      .message = fmt::format("the conversation has more than {} bytes", kChainBytesMax)};
    }
    next = turn.parent;
    out.push_back(std::move(turn));
  }
  std::reverse(out.begin(), out.end());
  Statement use(database_, "UPDATE turns SET used_s = ? WHERE id = ? AND used_s < ? - 60");
  for (const Turn& turn : out) {
    if (!use.again().bind(now_s_()).bind(turn.id).bind(now_s_()).done()) break;  // a read-only folder: it ages, and is read all the same
  }
  return {};
}

Refused KeptTurns::conversation(uint32_t tenant, std::string_view name, std::optional<ConversationHead>& out) {
  const auto lock = database_.lock();
  Statement row(database_, "SELECT name, head, created_s, used_s, metadata FROM conversations WHERE tenant = ? AND name = ?");
  if (!row.bind(tenant).bind(name).row()) return row.ok() ? Refused{} : database_.refusal("read the conversation");
  out = ConversationHead{row.text(0), row.text(1), row.integer(2), row.integer(3), Json::parse(row.text(4), nullptr, false)};
  return {};
}

Refused KeptTurns::room_for_name(uint32_t tenant, const char* sql) {
  Statement held(database_, sql);
  if (!held.bind(tenant).row()) return database_.refusal("count what is kept");
  if (held.integer(0) < static_cast<int64_t>(limits::kConversationsMax)) return {};
  return ApiError{.status = 409, .code = "too_many_names", .message = fmt::format("you have {} of them, the limit is {}: delete some", held.integer(0),
                                                                                  limits::kConversationsMax)};
}

Refused KeptTurns::put_conversation(uint32_t tenant, const ConversationHead& conversation) {
  const auto lock = database_.lock();
  SLUICE_REFUSE(room_for_name(tenant, "SELECT count(*) FROM conversations WHERE tenant = ?"));
  Statement put(database_, "INSERT INTO conversations (tenant, name, head, created_s, used_s, metadata) VALUES (?, ?, ?, ?, ?, ?)"
                           " ON CONFLICT (tenant, name) DO UPDATE SET head = excluded.head, used_s = excluded.used_s, metadata = excluded.metadata");
  put.bind(tenant).bind(conversation.name).bind(conversation.head).bind(now_s_()).bind(now_s_());
  if (!put.bind(dumped(conversation.metadata)).done()) return database_.refusal("keep the conversation");
  return {};
}

Refused KeptTurns::list_conversations(uint32_t tenant, const Page& page, std::vector<ConversationHead>& out, bool& more) {
  const auto lock = database_.lock();
  Statement row(database_, "SELECT name, head, created_s, used_s, metadata FROM conversations WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?");
  row.bind(tenant).bind(page.after).bind(page.limit + 1);
  while (row.row()) out.push_back({row.text(0), row.text(1), row.integer(2), row.integer(3), Json::parse(row.text(4), nullptr, false)});
  if (!row.ok()) return database_.refusal("list the conversations");
  more = out.size() > page.limit;
  if (more) out.pop_back();
  return {};
}

Refused KeptTurns::remove_conversation(uint32_t tenant, std::string_view name) {
  const auto lock = database_.lock();
  Statement gone(database_, "DELETE FROM conversations WHERE tenant = ? AND name = ?");
  if (!gone.bind(tenant).bind(name).done()) return database_.refusal("delete the conversation");
  if (database_.changes() == 0) return not_there("conversation", "conversation", name);
  return {};
}

Refused KeptTurns::put_saved(uint32_t tenant, const SavedState& saved) {
  const auto lock = database_.lock();
  SLUICE_REFUSE(room_for_name(tenant, "SELECT count(*) FROM saved WHERE tenant = ?"));
  Statement put(database_, "INSERT OR REPLACE INTO saved (tenant, name, model, created_s, head, tokens) VALUES (?, ?, ?, ?, ?, ?)");
  put.bind(tenant).bind(saved.name).bind(saved.model).bind(now_s_()).bind(saved.head);
  if (!put.bind_bytes(bytes_of(saved.tokens)).done()) return database_.refusal("save the state");
  return {};
}

Refused KeptTurns::saved(uint32_t tenant, std::string_view name, SavedState& out) {
  const auto lock = database_.lock();
  Statement row(database_, "SELECT name, model, head, created_s, tokens FROM saved WHERE tenant = ? AND name = ?");
  if (row.bind(tenant).bind(name).row()) {
    out = {row.text(0), row.text(1), row.text(2), row.integer(3), ids_of(row.text(4))};
    return {};
  }
  if (!row.ok()) return database_.refusal("read the saved states");
  return not_there("saved_state", "name", name);
}

Refused KeptTurns::list_saved(uint32_t tenant, std::vector<SavedState>& out) {
  const auto lock = database_.lock();
  Statement row(database_, "SELECT name, model, head, created_s FROM saved WHERE tenant = ? ORDER BY name");
  row.bind(tenant);
  while (row.row()) out.push_back({row.text(0), row.text(1), row.text(2), row.integer(3), {}});
  if (!row.ok()) return database_.refusal("list the saved states");
  return {};
}

Refused KeptTurns::remove_saved(uint32_t tenant, std::string_view name, std::vector<int32_t>& freed) {
  SavedState found;
  SLUICE_REFUSE(saved(tenant, name, found));
  const auto lock = database_.lock();
  Statement gone(database_, "DELETE FROM saved WHERE tenant = ? AND name = ?");
  if (!gone.bind(tenant).bind(name).done()) return database_.refusal("delete the saved state");
  if (database_.changes() == 0) return not_there("saved_state", "name", name);
  Statement same(database_, "SELECT 1 FROM saved WHERE tenant = ? AND tokens = ? LIMIT 1");
  const bool shared = same.bind(tenant).bind_bytes(bytes_of(found.tokens)).row();
  if (!shared && same.ok()) freed = std::move(found.tokens);
  return {};
}

}  // namespace sluice::server
