// API keys: what one looks like, how it is kept (a salted hash, never the key), and the SQLite file that holds them with their limits.
// Contract: a key is shown once, when it is made. A file that cannot be read is an Error with a sentence, never an empty list of keys: the caller must
// not take "unreadable" for "no key exists". One KeyFile is used by one thread at a time; several processes may have the file open (WAL).
// Next: key_ring.h (what a running server checks against), cli/verb_keys.cc.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/quota.h"

struct sqlite3;

namespace sluice::server {

// The highest service tier that a key may ask for; the numbers stand in the file.
enum class KeyTier : uint8_t { kFlex = 0, kOnDemand = 1, kPerformance = 2 };
std::string_view key_tier_name(KeyTier tier);
Result<KeyTier> key_tier_from_name(std::string_view name);

inline constexpr std::string_view kKeyPrefix = "sk-sluice-";
inline constexpr size_t kKeyIdChars = 10;
inline constexpr size_t kKeySecretChars = 43;  // 62^43 > 2^256
inline constexpr size_t kKeyChars = kKeyPrefix.size() + kKeyIdChars + 1 + kKeySecretChars;
inline constexpr size_t kKeyNameBytesMax = 64;
inline constexpr size_t kKeysMax = 100'000;

struct Key {
  uint32_t number = 0;      // never used again after a revocation: states and fairness are kept by it
  std::string id;           // public part: in lists and logs
  std::string name;
  int64_t created_s = 0;    // Unix time
  int64_t revoked_s = 0;    // 0: valid
  KeyLimits limits;
  KeyTier tier = KeyTier::kOnDemand;
  bool admin = false;       // may use the admin routes
};

using KeySalt = std::array<uint8_t, 16>;
using KeyHash = std::array<uint8_t, 32>;
struct StoredKey : Key {
  KeySalt salt{};
  KeyHash hash{};
};

// A key's text taken apart; nothing when it has not the form of one.
struct KeyText {
  std::string_view id;
  std::string_view secret;
};
std::optional<KeyText> parse_key(std::string_view text);

// The secret has 256 bits of entropy, so one HMAC-SHA256 with a salt of its own is out of reach of guessing; slow hashes are for passwords.
KeyHash hash_secret(const KeySalt& salt, std::string_view secret);
// In constant time.
bool secret_matches(const StoredKey& key, std::string_view secret);

struct NewKey {
  std::string name;
  KeyLimits limits;
  KeyTier tier = KeyTier::kOnDemand;
  bool admin = false;
};
struct CreatedKey {
  Key key;
  std::string text;  // the only time it is seen
};

// What a running server writes down, so that a restart does not refill the day.
struct KeyUse {
  uint32_t number = 0;
  Quota::DayUse day;
  uint64_t requests = 0, prompt_tokens = 0, completion_tokens = 0;  // since the key exists
  int64_t at_s = 0;
};

class KeyFile {
 public:
  enum class Access { kCreate, kWrite, kRead };

  // kCreate makes the folder and the file (0700, 0600) when missing. kRead also works on a file system that cannot be written.
  static Result<KeyFile> open(const std::filesystem::path& path, Access access);
  KeyFile(KeyFile&&) noexcept;
  KeyFile& operator=(KeyFile&&) noexcept;
  ~KeyFile();

  Result<CreatedKey> create(const NewKey& wanted, int64_t now_s);
  Result<std::vector<StoredKey>> all() const;                                        // revoked ones too, oldest first
  Result<Key> revoke(std::string_view id_or_name, int64_t now_s);
  struct Change {
    std::array<std::optional<uint64_t>, kLimitKinds> limits;
    std::optional<KeyTier> tier;
    std::optional<bool> admin;
  };
  Result<Key> change(std::string_view id_or_name, const Change& change);

  Result<std::vector<KeyUse>> uses() const;
  Status save_uses(std::span<const KeyUse> uses);

  // Rises when another connection has changed the file; a read of shared memory.
  Result<uint64_t> version() const;

 private:
  struct Statement;
  KeyFile(sqlite3* database, std::filesystem::path path);
  Error error(std::string_view doing) const;
  Status run(const char* sql) const;
  Result<StoredKey> find_valid(std::string_view id_or_name) const;

  sqlite3* database_ = nullptr;
  std::filesystem::path path_;
};

// $XDG_STATE_HOME/sluice, or ~/.local/state/sluice.
std::filesystem::path state_folder();
std::filesystem::path default_key_file();

}  // namespace sluice::server
