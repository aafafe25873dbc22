#include "server/kept_files.h"

#include <fmt/format.h>

#include "server/kept_limits.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

void read_row(const Statement& row, KeptFile& out) {
  out.number = row.integer(0);
  out.id = row.text(1);
  out.tenant = static_cast<uint32_t>(row.integer(2));
  out.purpose = row.text(3);
  out.name = row.text(4);
  out.bytes = static_cast<uint64_t>(row.integer(5));
  out.created_s = row.integer(6);
  out.expires_s = row.integer(7);
}

#define SLUICE_FILE_COLUMNS "number, id, tenant, purpose, name, bytes, created_s, expires_s"

}  // namespace

Refused KeptFiles::reserve(KeptFile& file) {
  file.created_s = now_s_();
  Statement insert(database_, "INSERT INTO files (id, tenant, purpose, name, bytes, created_s, expires_s, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  insert.bind(file.id).bind(file.tenant).bind(file.purpose).bind(file.name).bind(file.bytes).bind(file.created_s).bind(file.expires_s);
  if (!insert.bind_zeros(file.bytes).done()) return database_.refusal("keep the file");
  file.number = database_.last_row();
  return {};
}

Refused KeptFiles::add(KeptFile& file, std::string_view content) {
  file.bytes = content.size();
  const auto lock = database_.lock();
  Transaction transaction(database_);
  if (!transaction.begun()) return database_.refusal("keep the file");
  {
    Statement held(database_, "SELECT count(*), coalesce(sum(bytes), 0) FROM files WHERE tenant = ?");
    if (!held.bind(file.tenant).row()) return database_.refusal("count the files");
    const auto count = static_cast<uint64_t>(held.integer(0)), bytes = static_cast<uint64_t>(held.integer(1));
    const uint64_t share = database_.options().bytes_max / 2;
    if (count >= limits::kFilesMax) {
      return ApiError{.status = 409, .code = "too_many_files", .param = "file",
                      .message = fmt::format("you have {} files, the limit is {}: delete some", count, limits::kFilesMax)};
    }
    if (bytes + content.size() > share) {
      return ApiError{.status = 413, .code = "storage_share_full", .param = "file",
                      .message = fmt::format("your files have {} bytes, {} more would exceed your share of {}: delete some", bytes, content.size(), share)};
    }
  }
  SLUICE_REFUSE(reserve(file));
  {
    Blob blob(database_, "files", "data", file.number, true);
    if (!blob.open() || !blob.write(0, content)) return database_.refusal("keep the file");
  }
  if (!transaction.commit()) return database_.refusal("keep the file");
  return {};
}

Refused KeptFiles::find(uint32_t tenant, std::string_view id, KeptFile& out) {
  Statement select(database_, "SELECT " SLUICE_FILE_COLUMNS " FROM files WHERE id = ? AND tenant = ? AND (expires_s = 0 OR expires_s > ?)");
  if (select.bind(id).bind(tenant).bind(now_s_()).row()) {
    read_row(select, out);
    return {};
  }
  if (!select.ok()) return database_.refusal("read the files");
  return ApiError{.status = 404, .code = "file_not_found", .param = "file_id", .message = fmt::format("there is no file '{}'", text::shown(id))};
}

Refused KeptFiles::get(uint32_t tenant, std::string_view id, KeptFile& out) {
  const auto lock = database_.lock();
  return find(tenant, id, out);
}

Refused KeptFiles::list(uint32_t tenant, std::string_view purpose, const Page& page, std::vector<KeptFile>& out, bool& more) {
  const auto lock = database_.lock();
  int64_t from = page.descending ? INT64_MAX : 0;
  if (!page.after.empty()) {
    KeptFile after;
    SLUICE_REFUSE(find(tenant, page.after, after));
    from = after.number;
  }
  Statement select(database_, page.descending ? "SELECT " SLUICE_FILE_COLUMNS " FROM files WHERE tenant = ? AND number < ? AND (expires_s = 0 OR expires_s > ?)"
                                                " AND (? = '' OR purpose = ?) ORDER BY number DESC LIMIT ?"
                                              : "SELECT " SLUICE_FILE_COLUMNS " FROM files WHERE tenant = ? AND number > ? AND (expires_s = 0 OR expires_s > ?)"
                                                " AND (? = '' OR purpose = ?) ORDER BY number LIMIT ?");
  select.bind(tenant).bind(from).bind(now_s_()).bind(purpose).bind(purpose).bind(page.limit + 1);
  while (select.row()) read_row(select, out.emplace_back());
  if (!select.ok()) return database_.refusal("list the files");
  more = out.size() > page.limit;
  if (more) out.pop_back();
  return {};
}

Refused KeptFiles::remove(uint32_t tenant, std::string_view id) {
  const auto lock = database_.lock();
  KeptFile file;
  SLUICE_REFUSE(find(tenant, id, file));
  {
    Statement reading(database_, "SELECT id FROM batches WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling') AND input = ?");
    if (reading.bind(id).row()) {
      return ApiError{.status = 409, .code = "file_in_use", .param = "file_id",
                      .message = fmt::format("batch {} reads this file: cancel it first, or wait for its end", reading.text(0))};
    }
  }
  Statement gone(database_, "DELETE FROM files WHERE number = ?");
  if (!gone.bind(file.number).done()) return database_.refusal("delete the file");
  return {};
}

Refused KeptFiles::read(int64_t number, uint64_t at, std::span<char> out) {
  const auto lock = database_.lock();
  Blob blob(database_, "files", "data", number, false);
  if (!blob.open() || !blob.read(at, out)) return database_.refusal("read the file");
  return {};
}

void KeptFiles::expire() {
  const auto lock = database_.lock();
  Statement gone(database_, "DELETE FROM files WHERE expires_s > 0 AND expires_s <= ? AND NOT EXISTS (SELECT 1 FROM batches WHERE input = files.id AND"
                            " status IN ('validating', 'in_progress', 'finalizing', 'cancelling'))");
  (void)gone.bind(now_s_()).done();  // the next time, then: find() does not show it any more
}

}  // namespace sluice::server
