#include "server/database.h"

#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <algorithm>

namespace sluice::server {
namespace {

constexpr int kBusyMs = 5000;
constexpr uint64_t kPageBytes = 4096;

}  // namespace

Result<int> Database::pragma(const char* sql) {
  Statement statement(*this, sql);
  if (!statement.row()) return Error{fmt::format("{}: {}", options_.path.string(), sqlite3_errmsg(handle_))};
  return static_cast<int>(statement.integer(0));
}

Result<std::unique_ptr<Database>> Database::open(const DatabaseOptions& options) {
  std::unique_ptr<Database> out(new Database(options));
  const std::string name = options.path.empty() ? ":memory:" : options.path.string();
  if (!options.path.empty()) {
    std::error_code error;
    std::filesystem::create_directories(options.path.parent_path(), error);
    if (error) return Error{fmt::format("cannot make the folder {}: {}", options.path.parent_path().string(), error.message())};
    const mode_t before = ::umask(0077);  // what clients keep is theirs
    const int code = sqlite3_open_v2(name.c_str(), &out->handle_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
    if (code == SQLITE_OK) sqlite3_exec(out->handle_, "SELECT count(*) FROM sqlite_schema", nullptr, nullptr, nullptr);
    ::umask(before);
    if (code != SQLITE_OK) return Error{fmt::format("{}: cannot open: {}", name, sqlite3_errmsg(out->handle_))};
  } else if (sqlite3_open_v2(name.c_str(), &out->handle_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr) != SQLITE_OK) {
    return Error{fmt::format("no memory for a database: {}", sqlite3_errmsg(out->handle_))};
  }
  const auto lock = out->lock();
  sqlite3_busy_timeout(out->handle_, kBusyMs);
  const std::string before = fmt::format("PRAGMA page_size = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 4194304;"
                                         "PRAGMA max_page_count = {}",
                                         kPageBytes, std::max<uint64_t>(options.bytes_max / kPageBytes, 32));
  SLUICE_TRY_VOID(out->run(before.c_str()));
  SLUICE_TRY(const int version, out->pragma("PRAGMA user_version"));
  if (version == 0) {
    const std::string make = fmt::format("BEGIN IMMEDIATE; {}; PRAGMA application_id = {}; PRAGMA user_version = {}; COMMIT", options.schema,
                                         options.application_id, options.version);
    if (const Status made = out->run(make.c_str()); !made.ok()) {
      sqlite3_exec(out->handle_, "ROLLBACK", nullptr, nullptr, nullptr);
      const Result<int> now = out->pragma("PRAGMA user_version");  // another process may have been first
      if (!now.ok() || *now != options.version) return made.error();
    }
  } else if (version != options.version) {
    return Error{fmt::format("{}: a database of version {}; this program knows version {}", name, version, options.version)};
  }
  return out;
}

Database::~Database() { sqlite3_close(handle_); }

Status Database::run(const char* sql) {
  char* text = nullptr;
  if (sqlite3_exec(handle_, sql, nullptr, nullptr, &text) == SQLITE_OK) return {};
  Error error{fmt::format("{}: {}", options_.path.empty() ? std::string("the database in memory") : options_.path.string(), text ? text : "no memory")};
  sqlite3_free(text);
  return error;
}

int64_t Database::last_row() const { return sqlite3_last_insert_rowid(handle_); }
uint64_t Database::changes() const { return static_cast<uint64_t>(sqlite3_changes64(handle_)); }

ApiError Database::refusal(std::string_view doing) const {
  const int code = sqlite3_errcode(handle_) & 0xff;
  ApiError error{.status = 500, .code = "storage_failed", .message = fmt::format("cannot {}: {}", doing, sqlite3_errmsg(handle_))};
  if (code == SQLITE_FULL) {
    error = {.status = 507, .code = "storage_full",
             .message = fmt::format("cannot {}: the disk is full, or the {} bytes that this server keeps for files, batches and responses are used up", doing,
                                    options_.bytes_max)};
  } else if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
    error.status = 503;
    error.retry_after_s = 1;
  } else if (code == SQLITE_READONLY) {
    error.message = fmt::format("cannot {}: the folder of states is read-only", doing);
  }
  return error;
}

Statement::Statement(Database& database, const char* sql) { result_ = sqlite3_prepare_v2(database.handle_, sql, -1, &statement_, nullptr); }
Statement::~Statement() { sqlite3_finalize(statement_); }
Statement& Statement::note(int code) {
  if (result_ == SQLITE_OK) result_ = code;
  return *this;
}
Statement& Statement::bind_integer(int64_t value) { return note(sqlite3_bind_int64(statement_, ++bound_, value)); }
Statement& Statement::bind(std::string_view text) {
  return note(sqlite3_bind_text64(statement_, ++bound_, text.data() ? text.data() : "", text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}
Statement& Statement::bind_bytes(std::span<const std::byte> bytes) {
  return note(sqlite3_bind_blob64(statement_, ++bound_, bytes.data() ? static_cast<const void*>(bytes.data()) : "", bytes.size(), SQLITE_TRANSIENT));
}
Statement& Statement::bind_zeros(uint64_t bytes) { return note(sqlite3_bind_zeroblob64(statement_, ++bound_, bytes)); }
bool Statement::row() { return result_ == SQLITE_OK && (last_ = sqlite3_step(statement_)) == SQLITE_ROW; }
bool Statement::done() {
  while (row()) {
  }
  return ok();
}
bool Statement::ok() const { return result_ == SQLITE_OK && (last_ == SQLITE_DONE || last_ == SQLITE_ROW || last_ == SQLITE_OK); }
Statement& Statement::again() {
  sqlite3_reset(statement_);
  bound_ = 0;
  last_ = SQLITE_OK;
  return *this;
}
int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_, column); }
std::string Statement::text(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  return bytes == nullptr ? std::string() : std::string(bytes, static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}

Transaction::Transaction(Database& database) : database_(database) {
  begun_ = sqlite3_exec(database.handle_, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK;
}
Transaction::~Transaction() {
  if (begun_ && sqlite3_get_autocommit(database_.handle_) == 0) sqlite3_exec(database_.handle_, "ROLLBACK", nullptr, nullptr, nullptr);
}
bool Transaction::commit() {
  return begun_ && sqlite3_get_autocommit(database_.handle_) == 0 && sqlite3_exec(database_.handle_, "COMMIT", nullptr, nullptr, nullptr) == SQLITE_OK;
}

Blob::Blob(Database& database, const char* table, const char* column, int64_t row, bool writable) {
  if (sqlite3_blob_open(database.handle_, "main", table, column, row, writable ? 1 : 0, &blob_) != SQLITE_OK) {
    sqlite3_blob_close(blob_);
    blob_ = nullptr;
  }
}
Blob::~Blob() { sqlite3_blob_close(blob_); }
uint64_t Blob::bytes() const { return static_cast<uint64_t>(sqlite3_blob_bytes(blob_)); }
bool Blob::read(uint64_t at, std::span<char> out) {
  return out.empty() || sqlite3_blob_read(blob_, out.data(), static_cast<int>(out.size()), static_cast<int>(at)) == SQLITE_OK;
}
bool Blob::write(uint64_t at, std::string_view bytes) {
  return bytes.empty() || sqlite3_blob_write(blob_, bytes.data(), static_cast<int>(bytes.size()), static_cast<int>(at)) == SQLITE_OK;
}

}  // namespace sluice::server
