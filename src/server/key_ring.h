// The keys that a running server checks against: the key file in memory, read again whenever it changes on disk.
// Contract: table() is a snapshot that never changes and may be taken from any thread. poll() and the changes go through one lock and may wait for the
// disk: they belong on a thread of their own (key_gate.h has one). What is known stays known: a file that becomes unreadable, or goes away, leaves the last
// good table in force and is told in trouble(); a file that could not be read from the start closes the server, for keys may stand in it.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "platform/file.h"
#include "server/keys.h"

namespace sluice::server {

struct KeyTable {
  KeyTable() = default;
  KeyTable(const KeyTable&) = delete;
  KeyTable& operator=(const KeyTable&) = delete;

  std::vector<StoredKey> keys;                               // valid ones and revoked ones
  std::unordered_map<std::string_view, size_t> valid_by_id;  // views into keys
  bool unreadable = false;                                   // nothing is known: nobody may pass
  bool closed() const { return unreadable || !keys.empty(); }
  // Null when the id is of no valid key, or the secret is wrong; both take the same time.
  const StoredKey* find(std::string_view key_text) const;
};

class KeyRing {
 public:
  explicit KeyRing(std::filesystem::path path);

  // Looks whether the file has changed and reads it again; true when table() is a new one.
  bool poll();
  std::shared_ptr<const KeyTable> table() const;
  std::string trouble() const;  // a sentence while the file cannot be read; empty: all is well

  // For the admin routes and the record of use: opened for writing for the moment of it.
  Result<CreatedKey> create(const NewKey& wanted, int64_t now_s);
  Result<Key> revoke(std::string_view id_or_name, int64_t now_s);
  Result<Key> change(std::string_view id_or_name, const KeyFile::Change& change);
  Result<std::vector<KeyUse>> uses() const;
  Status save_uses(std::span<const KeyUse> uses);

  const std::filesystem::path& path() const { return path_; }

 private:
  bool changed();
  bool read();
  void put(std::shared_ptr<const KeyTable> table, std::string trouble);

  std::filesystem::path path_;
  std::mutex file_lock_;                          // around everything that touches the disk
  std::optional<KeyFile> file_;
  std::optional<platform::FileIdentity> identity_;  // of the file that file_ has open
  uint64_t version_ = 0;
  mutable std::mutex table_lock_;                 // around the two below, held for a copy
  std::shared_ptr<const KeyTable> table_;
  std::string trouble_;
};

}  // namespace sluice::server
