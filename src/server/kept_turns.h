// Turns: what was said and answered, each behind the one that it goes on from, so that a client need not send the past again. A stored response is a turn;
// a conversation is a name for the newest of its turns, and a fork is another name for the same one.
// Contract: as kept.h; the least recently used turns of a tenant go when it has too many, and the largest tenant's when all have too many bytes.
// Next: responses_routes.cc, conversation.h.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/database.h"
#include "server/json_fields.h"
#include "server/kept_files.h"
#include "server/seam.h"

namespace sluice::server {

struct Turn {
  std::string id;                      // "resp_..." or "turn_..."
  uint32_t tenant = 0;
  std::string parent;                  // empty: the first
  bool shown = false;                  // a response that can be asked for by its id
  Json messages = Json::array();       // as prompt.h has them: what was new, and the answer
  Json input = Json::array();          // items, of a response
  Json body;                           // the response as it was sent
  Seam seam;
};

struct ConversationHead {
  std::string name, head;              // a turn, empty: nothing said yet
  int64_t created_s = 0, used_s = 0;
  Json metadata = Json::object();
};

struct SavedState {
  std::string name, model, head;       // `model`: the fingerprint of what computed it
  int64_t created_s = 0;
  std::vector<int32_t> tokens;
};

class KeptTurns {
 public:
  KeptTurns(Database& database, std::function<int64_t()> now_s) : database_(database), now_s_(std::move(now_s)) {}

  // Replaces one with the same id. `conversation`: whose head it becomes; empty: none's.
  Refused add(const Turn& turn, std::string_view conversation);
  Refused get(uint32_t tenant, std::string_view id, Turn& out);
  Refused remove(uint32_t tenant, std::string_view id);
  // The turn and all that it goes on from, the first one first; counts as a use of each. `field`: whom to blame for one that is not there.
  Refused chain(uint32_t tenant, std::string_view id, std::string_view field, std::vector<Turn>& out);

  // nullopt: there is no such conversation.
  Refused conversation(uint32_t tenant, std::string_view name, std::optional<ConversationHead>& out);
  Refused put_conversation(uint32_t tenant, const ConversationHead& conversation);
  Refused list_conversations(uint32_t tenant, const Page& page, std::vector<ConversationHead>& out, bool& more);
  // 404 if it is not there.
  Refused remove_conversation(uint32_t tenant, std::string_view name);

  Refused put_saved(uint32_t tenant, const SavedState& saved);
  Refused saved(uint32_t tenant, std::string_view name, SavedState& out);
  Refused list_saved(uint32_t tenant, std::vector<SavedState>& out);  // without tokens
  // `freed`: its tokens, if no other name of the tenant's stands for the same state.
  Refused remove_saved(uint32_t tenant, std::string_view name, std::vector<int32_t>& freed);

 private:
  Refused select(uint32_t tenant, std::string_view id, Turn& out, bool& found, std::string_view columns_where);
  Refused bound(uint32_t tenant);
  Refused room_for_name(uint32_t tenant, const char* sql);
  Database& database_;
  const std::function<int64_t()> now_s_;
};

}  // namespace sluice::server
