#include "server/kept_batches.h"

#include <fmt/format.h>

#include "server/kept_limits.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

#define SLUICE_BATCH_COLUMNS "number, id, tenant, key, status, ends_s, keep_s, input, body"

void read_row(const Statement& row, Batch& out) {
  out.number = row.integer(0);
  out.id = row.text(1);
  out.tenant = static_cast<uint32_t>(row.integer(2));
  out.key = static_cast<uint32_t>(row.integer(3));
  out.status = row.text(4);
  out.ends_s = row.integer(5);
  out.keep_s = row.integer(6);
  out.input = row.text(7);
  out.body = Json::parse(row.text(8), nullptr, false);
}

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

Refused KeptBatches::create(Batch& batch) {
  const auto lock = database_.lock();
  Transaction transaction(database_);
  if (!transaction.begun()) return database_.refusal("keep the batch");
  {
    Statement held(database_, "SELECT count(*) FROM batches WHERE tenant = ? AND status IN ('validating', 'in_progress', 'finalizing', 'cancelling')");
    if (!held.bind(batch.tenant).row()) return database_.refusal("count the batches");
    if (held.integer(0) >= static_cast<int64_t>(limits::kBatchesActiveMax)) {
      return ApiError{.status = 429, .code = "too_many_batches", .message = fmt::format("you have {} batches that are not over, the limit is {}",
                                                                                        held.integer(0), limits::kBatchesActiveMax), .retry_after_s = 60};
    }
    Statement old(database_, "DELETE FROM batches WHERE tenant = ? AND status NOT IN ('validating', 'in_progress', 'finalizing', 'cancelling') AND number <="
                             " (SELECT number FROM batches WHERE tenant = ? ORDER BY number DESC LIMIT 1 OFFSET ?)");
    if (!old.bind(batch.tenant).bind(batch.tenant).bind(limits::kBatchesKeptMax).done()) return database_.refusal("keep the batch");
    Statement insert(database_, "INSERT INTO batches (id, tenant, key, status, ends_s, keep_s, input, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    insert.bind(batch.id).bind(batch.tenant).bind(batch.key).bind(batch.status).bind(batch.ends_s).bind(batch.keep_s).bind(batch.input);
    if (!insert.bind(dumped(batch.body)).done()) return database_.refusal("keep the batch");
    batch.number = database_.last_row();
  }
  if (!transaction.commit()) return database_.refusal("keep the batch");
  return {};
}

// What is done so far; a batch that is over has it in its body.
Refused KeptBatches::count(Batch& batch) {
  if (batch.over() || batch.status == "validating") return {};
  Statement counts(database_, "SELECT coalesce(sum(good), 0), coalesce(sum(1 - good), 0) FROM answers WHERE batch = ?");
  if (!counts.bind(batch.number).row()) return database_.refusal("count the lines");
  batch.body["request_counts"]["completed"] = counts.integer(0);
  batch.body["request_counts"]["failed"] = counts.integer(1);
  return {};
}

Refused KeptBatches::find(uint32_t tenant, std::string_view id, Batch& out) {
  Statement select(database_, "SELECT " SLUICE_BATCH_COLUMNS " FROM batches WHERE id = ? AND tenant = ?");
  if (select.bind(id).bind(tenant).row()) {
    read_row(select, out);
    return count(out);
  }
  if (!select.ok()) return database_.refusal("read the batches");
  return ApiError{.status = 404, .code = "batch_not_found", .param = "batch_id", .message = fmt::format("there is no batch '{}'", text::shown(id))};
}

Refused KeptBatches::get(uint32_t tenant, std::string_view id, Batch& out) {
  const auto lock = database_.lock();
  return find(tenant, id, out);
}

Refused KeptBatches::list(uint32_t tenant, const Page& page, std::vector<Batch>& out, bool& more) {
  const auto lock = database_.lock();
  int64_t from = INT64_MAX;
  if (!page.after.empty()) {
    Batch after;
    SLUICE_REFUSE(find(tenant, page.after, after));
    from = after.number;
  }
  {
    Statement select(database_, "SELECT " SLUICE_BATCH_COLUMNS " FROM batches WHERE tenant = ? AND number < ? ORDER BY number DESC LIMIT ?");
    select.bind(tenant).bind(from).bind(page.limit + 1);
    while (select.row()) read_row(select, out.emplace_back());
    if (!select.ok()) return database_.refusal("list the batches");
  }
  more = out.size() > page.limit;
  if (more) out.pop_back();
  for (Batch& batch : out) SLUICE_REFUSE(count(batch));
  return {};
}

Refused KeptBatches::store(Batch& batch, std::string_view status) {
  batch.status = status;
  batch.body["status"] = status;
  const std::string at = std::string(status) + "_at";
  if (batch.body.contains(at)) batch.body[at] = now_s_();
  Statement update(database_, "UPDATE batches SET status = ?, body = ? WHERE number = ?");
  if (!update.bind(batch.status).bind(dumped(batch.body)).bind(batch.number).done()) return database_.refusal("keep the batch");
  return {};
}

Refused KeptBatches::update(Batch& batch, std::string_view status) {
  const auto lock = database_.lock();
  return store(batch, status);
}

Refused KeptBatches::cancel(uint32_t tenant, std::string_view id, Batch& out) {
  const auto lock = database_.lock();
  SLUICE_REFUSE(find(tenant, id, out));
  if (out.status == "cancelling" || out.status == "cancelled") return {};
  if (out.over() || out.status == "finalizing") {
    return ApiError{.status = 409, .code = "batch_over", .message = fmt::format("the batch is {}: it cannot be cancelled any more", out.status)};
  }
  return store(out, "cancelling");
}

Refused KeptBatches::active(std::vector<Batch>& out) {
  const auto lock = database_.lock();
  Statement select(database_, "SELECT " SLUICE_BATCH_COLUMNS
                              " FROM batches WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling') ORDER BY number");
  while (select.row()) read_row(select, out.emplace_back());
  if (!select.ok()) return database_.refusal("read the batches");
  return {};
}

Refused KeptBatches::insert_answers(std::span<const BatchAnswer> answers) {
  Statement insert(database_, "INSERT OR IGNORE INTO answers (batch, line, good, text) VALUES (?, ?, ?, ?)");
  for (const BatchAnswer& answer : answers) {
    insert.again().bind(answer.batch).bind(answer.line).bind(answer.good ? 1 : 0);
    if (!insert.bind_bytes(std::as_bytes(std::span(answer.text))).done()) return database_.refusal("keep a line's answer");
  }
  return {};
}

Refused KeptBatches::lay_out(Batch& batch, std::span<const BatchSpan> lines, std::span<const BatchAnswer> answers) {
  const auto lock = database_.lock();
  Transaction transaction(database_);
  if (!transaction.begun()) return database_.refusal("begin the batch");
  Batch now;
  SLUICE_REFUSE(find(batch.tenant, batch.id, now));
  {
    Statement insert(database_, "INSERT OR IGNORE INTO lines (batch, line, begin, bytes) VALUES (?, ?, ?, ?)");
    for (const BatchSpan& line : lines) {
      if (!insert.again().bind(batch.number).bind(line.line).bind(line.begin).bind(line.bytes).done()) return database_.refusal("begin the batch");
    }
  }
  SLUICE_REFUSE(insert_answers(answers));
  batch.body["request_counts"]["total"] = lines.size();
  if (now.status == "cancelling") {  // meanwhile
    now.body["request_counts"]["total"] = lines.size();
    batch = std::move(now);
    SLUICE_REFUSE(store(batch, "cancelling"));
  } else {
    SLUICE_REFUSE(store(batch, "in_progress"));
  }
  if (!transaction.commit()) return database_.refusal("begin the batch");
  return {};
}

Refused KeptBatches::waiting(int64_t batch, uint64_t line, uint32_t limit, std::vector<BatchSpan>& out) {
  const auto lock = database_.lock();
  Statement select(database_, "SELECT line, begin, bytes FROM lines WHERE batch = ?1 AND line > ?2 AND NOT EXISTS"
                              " (SELECT 1 FROM answers WHERE answers.batch = ?1 AND answers.line = lines.line) ORDER BY line LIMIT ?3");
  select.bind(batch).bind(line).bind(limit);
  while (select.row()) {
    out.push_back({static_cast<uint64_t>(select.integer(0)), static_cast<uint64_t>(select.integer(1)), static_cast<uint64_t>(select.integer(2))});
  }
  if (!select.ok()) return database_.refusal("read the batch's lines");
  return {};
}

Refused KeptBatches::answer(std::span<const BatchAnswer> answers) {
  const auto lock = database_.lock();
  Transaction transaction(database_);
  if (!transaction.begun()) return database_.refusal("keep a line's answer");
  SLUICE_REFUSE(insert_answers(answers));
  if (!transaction.commit()) return database_.refusal("keep a line's answer");
  return {};
}

Refused KeptBatches::write_file(KeptFiles& files, Batch& batch, bool good, std::string_view field) {
  KeptFile file{.id = fmt::format("file-{}{}", batch.id.substr(batch.id.find('_') + 1), good ? "o" : "e"), .tenant = batch.tenant,
                .purpose = "batch_output", .name = fmt::format("{}_{}.jsonl", batch.id, good ? "output" : "error")};
  {
    Statement size(database_, "SELECT count(*), coalesce(sum(length(text) + 1), 0) FROM answers WHERE batch = ? AND good = ?");
    if (!size.bind(batch.number).bind(good ? 1 : 0).row()) return database_.refusal("count the lines");
    batch.body["request_counts"][good ? "completed" : "failed"] = size.integer(0);
    if (size.integer(0) == 0) return {};
    file.bytes = static_cast<uint64_t>(size.integer(1));
  }
  file.expires_s = batch.keep_s > 0 ? now_s_() + batch.keep_s : 0;
  SLUICE_REFUSE(files.reserve(file));
  Blob blob(database_, "files", "data", file.number, true);
  if (!blob.open()) return database_.refusal("write the batch's file");
  Statement select(database_, "SELECT text FROM answers WHERE batch = ? AND good = ? ORDER BY line");
  select.bind(batch.number).bind(good ? 1 : 0);
  uint64_t at = 0;
  while (select.row()) {
    const std::string line = select.text(0) + "\n";
    if (!blob.write(at, line)) return database_.refusal("write the batch's file");
    at += line.size();
  }
  if (!select.ok()) return database_.refusal("write the batch's file");
  batch.body[std::string(field)] = file.id;
  return {};
}

Refused KeptBatches::finish(KeptFiles& files, Batch& batch, std::string_view status) {
  const auto lock = database_.lock();
  Transaction transaction(database_);
  if (!transaction.begun()) return database_.refusal("finish the batch");
  Batch finished = batch;
  SLUICE_REFUSE(write_file(files, finished, true, "output_file_id"));
  SLUICE_REFUSE(write_file(files, finished, false, "error_file_id"));
  finished.body["finalizing_at"] = now_s_();
  SLUICE_REFUSE(store(finished, status));
  for (const char* sql : {"DELETE FROM lines WHERE batch = ?", "DELETE FROM answers WHERE batch = ?"}) {
    Statement gone(database_, sql);
    if (!gone.bind(batch.number).done()) return database_.refusal("finish the batch");
  }
  if (!transaction.commit()) return database_.refusal("finish the batch");
  batch = std::move(finished);
  return {};
}

}  // namespace sluice::server
