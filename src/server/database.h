// One SQLite database: what the server keeps for its clients beside states (files, batches, responses), in a folder or in memory.
// Contract: one connection, one transaction at a time: whoever holds lock() may run statements. A full disk, or a database at its limit, is a refusal with
// a sentence (507) and undoes the whole transaction; everything before it stays. A commit on disk has been synced. Next: kept.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/result.h"
#include "server/api_error.h"

struct sqlite3;
struct sqlite3_blob;
struct sqlite3_stmt;

namespace sluice::server {

struct DatabaseOptions {
  std::filesystem::path path;          // empty: in memory
  uint64_t bytes_max = 0;
  const char* schema = "";             // run once, when the file is made
  int application_id = 0, version = 0;
};

class Database {
 public:
  static Result<std::unique_ptr<Database>> open(const DatabaseOptions& options);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  [[nodiscard]] std::unique_lock<std::mutex> lock() { return std::unique_lock(mutex_); }
  bool on_disk() const { return !options_.path.empty(); }
  const DatabaseOptions& options() const { return options_; }

  // Under the lock, all of these.
  Status run(const char* sql);
  int64_t last_row() const;
  uint64_t changes() const;
  // What went wrong last, as an answer: "cannot keep the file: ...".
  ApiError refusal(std::string_view doing) const;

 private:
  friend class Statement;
  friend class Transaction;
  friend class Blob;
  explicit Database(const DatabaseOptions& options) : options_(options) {}
  Result<int> pragma(const char* sql);

  const DatabaseOptions options_;
  sqlite3* handle_ = nullptr;
  std::mutex mutex_;
};

// Bound in order, stepped, finalised when it goes.
class Statement {
 public:
  Statement(Database& database, const char* sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  template <class Integer>
    requires std::is_integral_v<Integer>
  Statement& bind(Integer value) { return bind_integer(static_cast<int64_t>(value)); }
  Statement& bind(std::string_view text);
  Statement& bind_bytes(std::span<const std::byte> bytes);
  Statement& bind_zeros(uint64_t bytes);
  bool row();                          // false at the end and on failure: ok() tells
  bool done();                         // to the end, without failure
  bool ok() const;
  Statement& again();

  int64_t integer(int column) const;
  std::string text(int column) const;  // of bytes, too

 private:
  Statement& bind_integer(int64_t value);
  Statement& note(int code);
  sqlite3_stmt* statement_ = nullptr;
  int result_ = 0, last_ = 0, bound_ = 0;
};

// Undone unless committed.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  bool begun() const { return begun_; }
  bool commit();

 private:
  Database& database_;
  bool begun_ = false;
};

// The bytes of one cell, in pieces.
class Blob {
 public:
  Blob(Database& database, const char* table, const char* column, int64_t row, bool writable);
  ~Blob();
  Blob(const Blob&) = delete;
  Blob& operator=(const Blob&) = delete;
  bool open() const { return blob_ != nullptr; }
  uint64_t bytes() const;
  bool read(uint64_t at, std::span<char> out);
  bool write(uint64_t at, std::string_view bytes);

 private:
  sqlite3_blob* blob_ = nullptr;
};

}  // namespace sluice::server
