#include "server/keys.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace sluice::server {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr int kApplicationId = 0x534C4B59;  // "SLKY"
constexpr int kSchemaVersion = 1;
constexpr int kBusyMs = 5000;

constexpr const char* kSchema =
    "CREATE TABLE keys (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, salt BLOB NOT NULL, hash BLOB NOT NULL,"
    " created_s INTEGER NOT NULL, revoked_s INTEGER NOT NULL DEFAULT 0, rpm INTEGER NOT NULL DEFAULT 0, rpd INTEGER NOT NULL DEFAULT 0,"
    " tpm INTEGER NOT NULL DEFAULT 0, tpd INTEGER NOT NULL DEFAULT 0, concurrent INTEGER NOT NULL DEFAULT 0, tier INTEGER NOT NULL DEFAULT 1,"
    " admin INTEGER NOT NULL DEFAULT 0);"
    "CREATE UNIQUE INDEX live_names ON keys (name) WHERE revoked_s = 0;"
    "CREATE TABLE uses (number INTEGER PRIMARY KEY, day_requests REAL NOT NULL, day_tokens REAL NOT NULL, requests INTEGER NOT NULL,"
    " prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, at_s INTEGER NOT NULL);";
constexpr const char* kColumns = "number, id, name, salt, hash, created_s, revoked_s, rpm, rpd, tpm, tpd, concurrent, tier, admin";

bool random_bytes(std::span<uint8_t> out) { return RAND_bytes(out.data(), static_cast<int>(out.size())) == 1; }

// Every character equally likely: bytes of 248 and above, the remainder of 256 / 62, are thrown away.
bool append_random(std::string& text, size_t chars) {
  for (size_t left = chars; left > 0;) {
    uint8_t bytes[64];
    if (!random_bytes(bytes)) return false;
    for (const uint8_t byte : bytes) {
      if (left == 0 || byte >= 248) continue;
      text += kAlphabet[byte % kAlphabet.size()];
      --left;
    }
  }
  return true;
}

bool of_alphabet(std::string_view text) { return text.find_first_not_of(kAlphabet) == std::string_view::npos; }

Status check_name(std::string_view name) {
  if (name.empty() || name.size() > kKeyNameBytesMax) return Error{fmt::format("--name: {} bytes; a name has 1 to {}", name.size(), kKeyNameBytesMax)};
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '@';
    if (!plain) return Error{fmt::format("--name '{}': only letters, digits, '-', '_', '.' and '@' may stand in a name", name)};
  }
  return {};
}

Status check_limits(const KeyLimits& limits) {
  for (size_t kind = 0; kind < kLimitKinds; ++kind) {
    if (limits.values[kind] > kLimitMax) return Error{fmt::format("{} {}: the most is {}", kLimitFacts[kind].name, limits.values[kind], kLimitMax)};
  }
  return {};
}

Status prepare_folder(const fs::path& path) {
  std::error_code error;
  const fs::path folder = path.parent_path();
  if (!folder.empty() && !fs::exists(folder, error)) {
    fs::create_directories(folder, error);
    if (error) return Error{fmt::format("cannot make the folder {}: {} (XDG_STATE_HOME chooses another)", folder.string(), error.message())};
    fs::permissions(folder, fs::perms::owner_all, error);
  }
  const bool is_new = !fs::exists(path, error);
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return Error{fmt::format("cannot write {}: {} (XDG_STATE_HOME chooses another folder)", path.string(), std::strerror(errno))};
  struct stat status {};
  // Root makes the first key of a server that runs as somebody else: the file is to be that one's, as the folder is.
  const bool hand_over = is_new && ::geteuid() == 0 && ::stat(folder.c_str(), &status) == 0 && status.st_uid != 0;
  const bool handed = !hand_over || ::fchown(file, status.st_uid, status.st_gid) == 0;
  ::close(file);
  if (!handed) return Error{fmt::format("cannot give {} to the folder's owner: {}", path.string(), std::strerror(errno))};
  return {};
}

std::string uri_of(const fs::path& path, std::string_view query) {
  std::string uri = "file:";
  for (const char c : fs::absolute(path).string()) {
    if (c == '?' || c == '#' || c == '%') uri += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    else uri += c;
  }
  return uri += query;
}

}  // namespace

std::string_view key_tier_name(KeyTier tier) {
  switch (tier) {
    case KeyTier::kFlex: return "flex";
    case KeyTier::kOnDemand: return "on_demand";
    case KeyTier::kPerformance: return "performance";
  }
  return "on_demand";
}

Result<KeyTier> key_tier_from_name(std::string_view name) {
  for (const KeyTier tier : {KeyTier::kFlex, KeyTier::kOnDemand, KeyTier::kPerformance}) {
    if (key_tier_name(tier) == name) return tier;
  }
  return Error{fmt::format("tier '{}': one of flex, on_demand, performance", name)};
}

std::optional<KeyText> parse_key(std::string_view text) {
  if (text.size() != kKeyChars || !text.starts_with(kKeyPrefix) || text[kKeyPrefix.size() + kKeyIdChars] != '-') return std::nullopt;
  const KeyText parts{text.substr(kKeyPrefix.size(), kKeyIdChars), text.substr(kKeyPrefix.size() + kKeyIdChars + 1)};
  if (!of_alphabet(parts.id) || !of_alphabet(parts.secret)) return std::nullopt;
  return parts;
}

KeyHash hash_secret(const KeySalt& salt, std::string_view secret) {
  KeyHash hash{};
  unsigned length = 0;
  const auto* bytes = reinterpret_cast<const unsigned char*>(secret.data());
  SLUICE_CHECK(HMAC(EVP_sha256(), salt.data(), static_cast<int>(salt.size()), bytes, secret.size(), hash.data(), &length) != nullptr);
  SLUICE_CHECK(length == hash.size());
  return hash;
}

bool secret_matches(const StoredKey& key, std::string_view secret) {
  const KeyHash hash = hash_secret(key.salt, secret);
  return CRYPTO_memcmp(hash.data(), key.hash.data(), hash.size()) == 0;
}

// A prepared statement: bound in order, stepped, finalised when it goes.
struct KeyFile::Statement {
  explicit Statement(const KeyFile& file, const std::string& sql) { result = sqlite3_prepare_v2(file.database_, sql.c_str(), -1, &statement, nullptr); }
  ~Statement() { sqlite3_finalize(statement); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  template <class Integer>
    requires std::is_integral_v<Integer>
  Statement& bind(Integer value) { return note(sqlite3_bind_int64(statement, ++bound, static_cast<sqlite3_int64>(value))); }
  Statement& bind(double value) { return note(sqlite3_bind_double(statement, ++bound, value)); }
  Statement& bind(std::string_view text) {
    return note(sqlite3_bind_text(statement, ++bound, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT));
  }
  Statement& bind(std::span<const uint8_t> bytes) {
    return note(sqlite3_bind_blob(statement, ++bound, bytes.data(), static_cast<int>(bytes.size()), SQLITE_TRANSIENT));
  }
  bool row() { return result == SQLITE_OK && (last = sqlite3_step(statement)) == SQLITE_ROW; }
  bool done() { return !row() && result == SQLITE_OK && last == SQLITE_DONE; }
  Statement& again() {
    sqlite3_reset(statement);
    bound = 0;
    return *this;
  }

  int64_t integer(int column) const { return sqlite3_column_int64(statement, column); }
  std::string text(int column) const {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
    return bytes == nullptr ? std::string() : std::string(bytes, static_cast<size_t>(sqlite3_column_bytes(statement, column)));
  }
  template <size_t N>
  bool bytes(int column, std::array<uint8_t, N>& out) const {
    const void* data = sqlite3_column_blob(statement, column);
    if (data == nullptr || sqlite3_column_bytes(statement, column) != static_cast<int>(N)) return false;
    std::memcpy(out.data(), data, N);
    return true;
  }

  Statement& note(int code) {
    if (result == SQLITE_OK) result = code;
    return *this;
  }

  sqlite3_stmt* statement = nullptr;
  int result = SQLITE_OK;
  int last = SQLITE_DONE;
  int bound = 0;
};

KeyFile::KeyFile(sqlite3* database, fs::path path) : database_(database), path_(std::move(path)) {}
KeyFile::KeyFile(KeyFile&& other) noexcept { *this = std::move(other); }
KeyFile& KeyFile::operator=(KeyFile&& other) noexcept {
  std::swap(database_, other.database_);
  std::swap(path_, other.path_);
  return *this;
}
KeyFile::~KeyFile() { sqlite3_close(database_); }

Error KeyFile::error(std::string_view doing) const {
  const int code = sqlite3_errcode(database_) & 0xff;
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) {
    return Error{fmt::format("{}: the key database is damaged ({}); restore it from a copy, or move it away and create new keys", path_.string(),
                             sqlite3_errmsg(database_))};
  }
  if (code == SQLITE_READONLY) return Error{fmt::format("{}: cannot {}: the file or its folder is read-only", path_.string(), doing)};
  if (code == SQLITE_FULL) return Error{fmt::format("{}: cannot {}: the disk is full", path_.string(), doing)};
  return Error{fmt::format("{}: cannot {}: {}", path_.string(), doing, sqlite3_errmsg(database_))};
}

namespace {

bool no_place(int code) {
  const int primary = code & 0xff;
  return primary == SQLITE_CANTOPEN || primary == SQLITE_READONLY || primary == SQLITE_FULL || code == SQLITE_IOERR_SHMSIZE || code == SQLITE_IOERR_SHMOPEN ||
         code == SQLITE_IOERR_SHMMAP || code == SQLITE_IOERR_WRITE;
}

bool file_is_empty(const std::string& path) {
  std::error_code ec;
  const auto bytes = fs::file_size(path, ec);
  return ec ? ec == std::errc::no_such_file_or_directory : bytes == 0;
}

}  // namespace

Status KeyFile::run(const char* sql) const {
  if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error("use the key database");
  return {};
}

Result<KeyFile> KeyFile::open(const fs::path& path, Access access) {
  if (access == Access::kCreate) SLUICE_TRY_VOID(prepare_folder(path));
  sqlite3* database = nullptr;
  const auto connect = [&](const std::string& uri, int flags) {
    const int code = sqlite3_open_v2(uri.c_str(), &database, flags | SQLITE_OPEN_URI | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
    return code == SQLITE_OK && sqlite3_exec(database, "SELECT count(*) FROM sqlite_schema", nullptr, nullptr, nullptr) == SQLITE_OK;
  };
  bool opened = connect(uri_of(path, ""), access == Access::kRead ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE);
  if (!opened && access == Access::kRead) {
    // A folder that cannot be written and a disk that is full have no place for the shared memory of WAL; the main file can still be read. Changes that
    // only the WAL has may be revocations: then nothing is read.
    if (no_place(sqlite3_extended_errcode(database)) && file_is_empty(path.string() + "-wal")) {
      sqlite3_close(database);
      opened = connect(uri_of(path, "?immutable=1"), SQLITE_OPEN_READONLY);
    }
  }
  KeyFile file(database, path);
  if (!opened) return file.error("open the key database");
  sqlite3_busy_timeout(database, kBusyMs);
  int version = -1;
  {
    Statement statement(file, "PRAGMA user_version");
    if (statement.row()) version = static_cast<int>(statement.integer(0));
  }
  if (version == 0 && access == Access::kCreate) {
    SLUICE_TRY_VOID(file.run("PRAGMA journal_mode = WAL"));
    SLUICE_TRY_VOID(file.run("BEGIN IMMEDIATE"));
    Statement statement(file, "PRAGMA user_version");  // another process may have been first
    const bool made = statement.row() && statement.integer(0) != 0;
    statement.again();
    if (!made) SLUICE_TRY_VOID(file.run(kSchema));
    if (!made) SLUICE_TRY_VOID(file.run(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}", kApplicationId, kSchemaVersion).c_str()));
    SLUICE_TRY_VOID(file.run("COMMIT"));
  } else if (version < 0) {
    return file.error("read the key database");
  } else if (version != kSchemaVersion) {
    return Error{fmt::format("{}: key database of version {}; this program knows version {}", path.string(), version, kSchemaVersion)};
  }
  SLUICE_TRY_VOID(file.run("PRAGMA synchronous = FULL"));
  Statement check(file, "PRAGMA quick_check(1)");
  if (!check.row()) return file.error("check the key database");
  if (check.text(0) != "ok") {
    return Error{fmt::format("{}: the key database is damaged ({}); restore it from a copy, or move it away and create new keys", path.string(),
                             check.text(0))};
  }
  return file;
}

Result<CreatedKey> KeyFile::create(const NewKey& wanted, int64_t now_s) {
  SLUICE_TRY_VOID(check_name(wanted.name));
  SLUICE_TRY_VOID(check_limits(wanted.limits));
  SLUICE_TRY(const std::vector<StoredKey> keys, all());
  if (keys.size() >= kKeysMax) return Error{fmt::format("{} keys: the limit is {}", keys.size(), kKeysMax)};
  for (const StoredKey& key : keys) {
    if (key.revoked_s == 0 && key.name == wanted.name) {
      return Error{fmt::format("--name {}: a key of this name exists ({}); revoke it first, or take another name", wanted.name, key.id)};
    }
  }
  StoredKey key;
  std::string secret;
  if (!append_random(key.id, kKeyIdChars) || !append_random(secret, kKeySecretChars) || !random_bytes(key.salt)) {
    return Error{"the system's random numbers cannot be had; no key was made"};
  }
  key.hash = hash_secret(key.salt, secret);
  Statement statement(*this, "INSERT INTO keys (id, name, salt, hash, created_s, rpm, rpd, tpm, tpd, concurrent, tier, admin)"
                             " VALUES (?,?,?,?,?,?,?,?,?,?,?,?)");
  statement.bind(key.id).bind(wanted.name).bind(key.salt).bind(key.hash).bind(now_s);
  for (const uint64_t limit : wanted.limits.values) statement.bind(limit);
  statement.bind(static_cast<int>(wanted.tier)).bind(static_cast<int>(wanted.admin));
  if (!statement.done()) return error("write the new key");
  key.number = static_cast<uint32_t>(sqlite3_last_insert_rowid(database_));
  key.name = wanted.name;
  key.created_s = now_s;
  key.limits = wanted.limits;
  key.tier = wanted.tier;
  key.admin = wanted.admin;
  return CreatedKey{key, fmt::format("{}{}-{}", kKeyPrefix, key.id, secret)};
}

Result<std::vector<StoredKey>> KeyFile::all() const {
  Statement statement(*this, fmt::format("SELECT {} FROM keys ORDER BY number", kColumns));
  std::vector<StoredKey> keys;
  while (statement.row()) {
    StoredKey key;
    key.number = static_cast<uint32_t>(statement.integer(0));
    key.id = statement.text(1);
    key.name = statement.text(2);
    const bool whole = statement.bytes(3, key.salt) && statement.bytes(4, key.hash);
    key.created_s = statement.integer(5);
    key.revoked_s = statement.integer(6);
    for (size_t kind = 0; kind < kLimitKinds; ++kind) key.limits.values[kind] = static_cast<uint64_t>(statement.integer(7 + static_cast<int>(kind)));
    const int64_t tier = statement.integer(12);
    key.admin = statement.integer(13) != 0;
    if (!whole || tier < 0 || tier > static_cast<int64_t>(KeyTier::kPerformance) || key.id.size() != kKeyIdChars || !check_limits(key.limits).ok()) {
      return Error{fmt::format("{}: the key database is damaged (the row of key {} makes no sense); restore it from a copy, or move it away", path_.string(),
                               key.number)};
    }
    key.tier = static_cast<KeyTier>(tier);
    keys.push_back(std::move(key));
  }
  if (statement.result != SQLITE_OK || statement.last != SQLITE_DONE) return error("read the keys");
  return keys;
}

Result<StoredKey> KeyFile::find_valid(std::string_view id_or_name) const {
  SLUICE_TRY(std::vector<StoredKey> keys, all());
  bool revoked = false;
  for (StoredKey& key : keys) {
    if (key.id != id_or_name && key.name != id_or_name) continue;
    if (key.revoked_s == 0) return std::move(key);
    revoked = true;
  }
  return Error{fmt::format("key '{}': {}", id_or_name, revoked ? "already revoked" : "no key has this id or name (`sluice keys list` shows them)")};
}

Result<Key> KeyFile::revoke(std::string_view id_or_name, int64_t now_s) {
  SLUICE_TRY(StoredKey key, find_valid(id_or_name));
  Statement statement(*this, "UPDATE keys SET revoked_s = ? WHERE number = ?");
  key.revoked_s = std::max<int64_t>(now_s, 1);
  if (!statement.bind(key.revoked_s).bind(key.number).done()) return error("revoke the key");
  return Key(key);
}

Result<Key> KeyFile::change(std::string_view id_or_name, const Change& change) {
  SLUICE_TRY(StoredKey key, find_valid(id_or_name));
  for (size_t kind = 0; kind < kLimitKinds; ++kind) key.limits.values[kind] = change.limits[kind].value_or(key.limits.values[kind]);
  SLUICE_TRY_VOID(check_limits(key.limits));
  key.tier = change.tier.value_or(key.tier);
  key.admin = change.admin.value_or(key.admin);
  Statement statement(*this, "UPDATE keys SET rpm = ?, rpd = ?, tpm = ?, tpd = ?, concurrent = ?, tier = ?, admin = ? WHERE number = ?");
  for (const uint64_t limit : key.limits.values) statement.bind(limit);
  if (!statement.bind(static_cast<int>(key.tier)).bind(static_cast<int>(key.admin)).bind(key.number).done()) return error("change the key");
  return Key(key);
}

Result<std::vector<KeyUse>> KeyFile::uses() const {
  Statement statement(*this, "SELECT number, day_requests, day_tokens, requests, prompt_tokens, completion_tokens, at_s FROM uses");
  std::vector<KeyUse> uses;
  while (statement.row()) {
    uses.push_back({static_cast<uint32_t>(statement.integer(0)),
                    {sqlite3_column_double(statement.statement, 1), sqlite3_column_double(statement.statement, 2)},
                    static_cast<uint64_t>(statement.integer(3)), static_cast<uint64_t>(statement.integer(4)), static_cast<uint64_t>(statement.integer(5)),
                    statement.integer(6)});
  }
  if (statement.result != SQLITE_OK || statement.last != SQLITE_DONE) return error("read the use of keys");
  return uses;
}

Status KeyFile::save_uses(std::span<const KeyUse> uses) {
  SLUICE_TRY_VOID(run("BEGIN IMMEDIATE"));
  Statement statement(*this, "INSERT OR REPLACE INTO uses (number, day_requests, day_tokens, requests, prompt_tokens, completion_tokens, at_s)"
                             " VALUES (?,?,?,?,?,?,?)");
  for (const KeyUse& use : uses) {
    statement.again().bind(use.number).bind(use.day.requests).bind(use.day.tokens).bind(use.requests).bind(use.prompt_tokens).bind(use.completion_tokens);
    if (statement.bind(use.at_s).done()) continue;
    const Error failed = error("write the use of keys");
    sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
    return failed;
  }
  statement.again();
  return run("COMMIT");
}

Result<uint64_t> KeyFile::version() const {
  Statement statement(*this, "PRAGMA data_version");
  if (!statement.row()) return error("read the key database's version");
  return static_cast<uint64_t>(statement.integer(0));
}

fs::path state_folder() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state == '/') return fs::path(state) / "sluice";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') return fs::path(home) / ".local" / "state" / "sluice";
  return fs::path("/var/lib/sluice");
}

fs::path default_key_file() { return state_folder() / "keys.db"; }

}  // namespace sluice::server
