#include "cli/replay_traces.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>

#include "base/limits.h"
#include "cli/zstd_lines.h"
#include "engine/sampler.h"

namespace sluice::cli {
namespace {

using engine::Piece;
using engine::Trace;
using engine::TraceRequest;
using nlohmann::json;

constexpr uint64_t kTraceBlocksMax = 1ull << 20;

constexpr uint64_t kGapMaxMs = 30 * 60 * 1000;
constexpr uint64_t kTailBlock = 1ull << 40, kAnswerBlock = 1ull << 41;  // blocks that no one else has (data/traces/README.md, rules 2 and 3)

// One request as published: the ids of its whole blocks.
struct Row {
  uint64_t scope = 0, prompt = 0, output = 0, system_end = 0, time_ms = 0;
  std::vector<uint64_t> ids;
  std::vector<Piece> pieces;  // of the prompt, then of the answer
};

Result<uint64_t> number_of(const json& object, const char* key, uint64_t most) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number()) return Error{fmt::format("'{}' is not a number", key)};
  const double value = it->get<double>();
  if (!(value >= 0 && value <= static_cast<double>(most))) return Error{fmt::format("'{}' is {}, outside 0 to {}", key, value, most)};
  return static_cast<uint64_t>(value);
}

// "1-315,317-400,9"
Status parse_ranges(std::string_view text, std::vector<uint64_t>& out) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    uint64_t first = 0, last = 0;
    auto parsed = std::from_chars(at, end, first);
    if (parsed.ec != std::errc()) return Error{"'hash_ids' is not a list of ranges"};
    last = first;
    at = parsed.ptr;
    if (at < end && *at == '-') {
      parsed = std::from_chars(at + 1, end, last);
      if (parsed.ec != std::errc()) return Error{"'hash_ids' is not a list of ranges"};
      at = parsed.ptr;
    }
    if (last < first || last >= kTailBlock || last - first >= kTraceBlocksMax || out.size() + (last - first) >= kTraceBlocksMax) {
      return Error{fmt::format("'hash_ids' has the range {}-{}, too long or falling", first, last)};
    }
    for (uint64_t id = first; id <= last; ++id) out.push_back(id);
    if (at < end && *at++ != ',') return Error{"'hash_ids' is not a list of ranges"};
  }
  return {};
}

void append_blocks(std::vector<Piece>& pieces, uint64_t scope, std::span<const uint64_t> ids, uint64_t block_tokens) {
  for (const uint64_t id : ids) {
    if (!pieces.empty() && pieces.back().block + pieces.back().tokens / block_tokens == id) {
      pieces.back().tokens += block_tokens;
    } else {
      pieces.push_back({scope, id, block_tokens, block_tokens});
    }
  }
}

// The part [begin, end) of what `pieces` spell; begin lies on a block's first token or the block continues one that `out` ends in.
void append_part(const std::vector<Piece>& pieces, uint64_t begin, uint64_t end, std::vector<Piece>& out) {
  uint64_t at = 0;
  for (const Piece& piece : pieces) {
    const uint64_t from = std::max(at, begin), to = std::min(at + piece.tokens, end);
    if (from < to) {
      Piece part = piece;
      const uint64_t skipped = from - at;
      part.block += skipped / piece.block_tokens;
      const uint64_t inside = skipped % piece.block_tokens;  // of that block, already in `out`
      part.tokens = to - from + inside;
      if (inside > 0) {
        out.back().tokens += std::min(part.tokens, piece.block_tokens) - inside;
        if (part.tokens > piece.block_tokens) {
          part.block += 1;
          part.tokens -= piece.block_tokens;
          out.push_back(part);
        }
      } else {
        out.push_back(part);
      }
    }
    at += piece.tokens;
  }
}

// Spells prompt and answer; `later` is the request that continues this one (already spelt), or null.
void spell(Row& row, const Row* later, uint64_t block_tokens, uint64_t index, bool outputs_lost) {
  append_blocks(row.pieces, row.scope, row.ids, block_tokens);
  const uint64_t whole = row.ids.size() * block_tokens;
  if (row.prompt > whole) {
    const uint64_t tail = row.prompt - whole;
    const uint64_t block = later ? later->ids[row.ids.size()] : kTailBlock + index;
    row.pieces.push_back({row.scope, block, block_tokens, tail});
  }
  if (row.output == 0) return;
  if (later != nullptr && !outputs_lost && later->prompt >= row.prompt + row.output) {
    append_part(later->pieces, row.prompt, row.prompt + row.output, row.pieces);
  } else {
    row.pieces.push_back({row.scope, (kAnswerBlock + (index << 8)), 1 << 16, row.output});
  }
}

Trace finish(std::string name, std::vector<Row>& rows) {
  Trace trace;
  trace.name = std::move(name);
  for (Row& row : rows) trace.requests.push_back({std::move(row.pieces), {}, row.prompt, row.system_end, 0, row.time_ms});
  return trace;
}

// ---- agent conversations: ids local to a line ----

Status read_request(const json& r, uint64_t scope, uint64_t start_ms, uint64_t system_end, std::vector<Row>& out) {
  if (!r.is_object()) return Error{"a request is not an object"};
  const auto t = r.find("t");
  const double seconds = t != r.end() && t->is_number() ? t->get<double>() : -1;
  if (!(seconds >= 0 && seconds < 1e9)) return Error{"a request's 't' is not a time"};
  const uint64_t time_ms = start_ms + static_cast<uint64_t>(seconds * 1000);
  if (const auto nested = r.find("requests"); nested != r.end()) {
    if (!nested->is_array() || start_ms != 0) return Error{"'requests' of a sub-agent is not a flat list"};
    for (const json& inner : *nested) {
      if (inner.is_object() && inner.contains("requests")) return Error{"sub-agents are nested more than once"};
      SLUICE_TRY_VOID(read_request(inner, scope, time_ms + 1, 0, out));
    }
    return {};
  }
  Row row;
  row.scope = scope;
  row.time_ms = time_ms;
  row.system_end = system_end;
  SLUICE_TRY(row.prompt, number_of(r, "in", limits::kContextTokensMax));
  SLUICE_TRY(row.output, number_of(r, "out", 60'000));
  const auto ids = r.find("hash_ids");
  if (ids == r.end() || !ids->is_string()) return Error{"'hash_ids' is not text"};
  SLUICE_TRY_VOID(parse_ranges(ids->get_ref<const std::string&>(), row.ids));
  row.ids.resize(std::min<uint64_t>(row.ids.size(), row.prompt / 64));
  if (row.prompt < 2) return {};
  out.push_back(std::move(row));
  return {};
}

void spell_conversation(std::vector<Row>& rows, bool outputs_lost) {
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.time_ms < b.time_ms; });
  for (size_t i = rows.size(); i > 0; --i) {
    Row& row = rows[i - 1];
    const Row* later = nullptr;
    for (size_t j = i; j < rows.size() && later == nullptr; ++j) {
      if (rows[j].ids.size() > row.ids.size() && std::equal(row.ids.begin(), row.ids.end(), rows[j].ids.begin())) later = &rows[j];
    }
    spell(row, later, 64, i - 1, outputs_lost);
  }
}

// Plays conversations in lanes: each lane takes the next one when it is free; idle gaps are clipped.
std::vector<Row> play(std::vector<std::vector<Row>>& conversations, const TraceOptions& options) {
  for (size_t i = conversations.size(); i > 1; --i) {
    std::swap(conversations[i - 1], conversations[static_cast<size_t>(engine::uniform(options.seed, 1, i) * static_cast<double>(i))]);
  }
  if (conversations.size() > options.conversations) conversations.resize(options.conversations);
  std::vector<uint64_t> free_at(options.lanes, 0);
  std::vector<Row> all;
  for (std::vector<Row>& rows : conversations) {
    const auto lane = std::min_element(free_at.begin(), free_at.end());
    uint64_t now = *lane, previous = rows.front().time_ms;
    for (Row& row : rows) {
      now += std::min(row.time_ms - previous, kGapMaxMs);
      previous = row.time_ms;
      row.time_ms = now;
      all.push_back(std::move(row));
    }
    *lane = now + 1000;
  }
  std::stable_sort(all.begin(), all.end(), [](const Row& a, const Row& b) { return a.time_ms < b.time_ms; });
  return all;
}

Result<Trace> read_conversations(const std::filesystem::path& path, const TraceOptions& options) {
  std::vector<std::vector<Row>> conversations;
  const auto see = [&](uint64_t number, std::string_view line) -> Status {
    const json document = json::parse(line, nullptr, false);
    const auto broken = [&](const std::string& why) { return Error{fmt::format("{}:{}: {}", path.string(), number + 1, why)}; };
    if (!document.is_object() || !document.contains("requests") || !document["requests"].is_array()) return broken("no list of requests");
    const auto tools = number_of(document, "tool_tokens", 1u << 24), system = number_of(document, "system_tokens", 1u << 24);
    std::vector<Row> rows;
    for (const json& request : document["requests"]) {
      const Status read = read_request(request, number, 0, tools.ok() && system.ok() ? *tools + *system : 0, rows);
      if (!read.ok()) return broken(read.error().message);
    }
    uint64_t longest = 0;
    for (const Row& row : rows) longest = std::max(longest, row.prompt);
    if (rows.empty() || longest < options.tokens_min || longest >= options.tokens_below) return {};
    spell_conversation(rows, options.outputs_lost);
    conversations.push_back(std::move(rows));
    return {};
  };
  SLUICE_TRY_VOID(for_lines(path, see));
  std::vector<Row> rows = play(conversations, options);
  return finish(fmt::format("{}:{}-{}", path.stem().stem().string(), options.tokens_min, options.tokens_below), rows);
}

// ---- global block ids, in order of time ----

Result<Trace> read_global(const std::filesystem::path& path, const TraceOptions& options) {
  constexpr uint64_t kBlock = 512;
  std::vector<Row> rows;
  const auto see = [&](uint64_t number, std::string_view line) -> Status {
    const json document = json::parse(line, nullptr, false);
    const auto broken = [&](const std::string& why) { return Error{fmt::format("{}:{}: {}", path.string(), number + 1, why)}; };
    if (!document.is_object() || !document.contains("hash_ids") || !document["hash_ids"].is_array()) return broken("no list of hash_ids");
    Row row;
    const auto read = [&]() -> Status {
      SLUICE_TRY(row.time_ms, number_of(document, "timestamp", 1ull << 40));
      SLUICE_TRY(row.prompt, number_of(document, "input_length", limits::kContextTokensMax));
      SLUICE_TRY(row.output, number_of(document, "output_length", 60'000));
      for (const json& id : document["hash_ids"]) {
        if (!id.is_number_unsigned() || id.get<uint64_t>() >= kTailBlock) return Error{"a hash id is not a number"};
        row.ids.push_back(id.get<uint64_t>());
      }
      return {};
    }();
    if (!read.ok()) return broken(read.error().message);
    row.ids.resize(std::min<uint64_t>(row.ids.size(), row.prompt / kBlock));
    if (row.prompt >= 2) rows.push_back(std::move(row));
    return {};
  };
  SLUICE_TRY_VOID(for_lines(path, see));
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.time_ms < b.time_ms; });
  // An id stands for the whole prefix: the next request that goes on after this one's last whole block continues it.
  std::unordered_map<uint64_t, size_t> goes_on;
  for (size_t i = rows.size(); i > 0; --i) {
    Row& row = rows[i - 1];
    const auto later = row.ids.empty() ? goes_on.end() : goes_on.find(row.ids.back());
    spell(row, later == goes_on.end() ? nullptr : &rows[later->second], kBlock, i - 1, options.outputs_lost);
    for (size_t k = 0; k + 1 < row.ids.size(); ++k) goes_on[row.ids[k]] = i - 1;
  }
  return finish(path.stem().stem().string(), rows);
}

}  // namespace

Result<TraceKind> kind_of_trace(const std::filesystem::path& path) {
  std::optional<std::string> first;
  const Status read = for_lines(path, [&](uint64_t, std::string_view line) -> Status {
    first = line;
    return Error{"one line is enough"};
  });
  if (!first) return read.ok() ? Error{fmt::format("{} is empty", path.string())} : read.error();
  const auto has = [&](std::string_view key) { return first->find(key) != std::string::npos; };
  if (has("\"hash_id_scope\"")) return TraceKind::kConversations;
  if (has("\"hash_ids\"")) return TraceKind::kGlobalBlocks;
  if (has("\"message_tree_id\"")) return TraceKind::kTrees;
  if (first->starts_with('[')) return TraceKind::kAgents;
  return Error{fmt::format("{}: its first line has neither block ids nor messages", path.string())};
}

Result<Trace> read_trace(const std::filesystem::path& path, const TraceOptions& options) {
  SLUICE_TRY(const TraceKind kind, kind_of_trace(path));
  if (kind == TraceKind::kConversations) return read_conversations(path, options);
  if (kind == TraceKind::kGlobalBlocks) return read_global(path, options);
  return Error{fmt::format("{}: holds texts, not block ids", path.string())};
}

}  // namespace sluice::cli
