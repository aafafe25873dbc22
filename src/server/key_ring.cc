#include "server/key_ring.h"

#include <fmt/format.h>

namespace sluice::server {
namespace {

namespace fs = std::filesystem;

std::shared_ptr<const KeyTable> make_table(std::vector<StoredKey> keys) {
  auto table = std::make_shared<KeyTable>();
  table->keys = std::move(keys);
  for (size_t i = 0; i < table->keys.size(); ++i) {
    if (table->keys[i].revoked_s == 0) table->valid_by_id.emplace(table->keys[i].id, i);
  }
  return table;
}

}  // namespace

const StoredKey* KeyTable::find(std::string_view key_text) const {
  static const StoredKey kNobody{};
  const std::optional<KeyText> parts = parse_key(key_text);
  const auto at = parts ? valid_by_id.find(parts->id) : valid_by_id.end();
  const StoredKey& key = at == valid_by_id.end() ? kNobody : keys[at->second];
  const bool matches = secret_matches(key, parts ? parts->secret : key_text.substr(0, kKeySecretChars));
  return matches && at != valid_by_id.end() ? &key : nullptr;
}

KeyRing::KeyRing(fs::path path) : path_(std::move(path)), table_(std::make_shared<KeyTable>()) { poll(); }

std::shared_ptr<const KeyTable> KeyRing::table() const {
  const std::lock_guard lock(table_lock_);
  return table_;
}

std::string KeyRing::trouble() const {
  const std::lock_guard lock(table_lock_);
  return trouble_;
}

void KeyRing::put(std::shared_ptr<const KeyTable> table, std::string trouble) {
  const std::lock_guard lock(table_lock_);
  if (table) table_ = std::move(table);
  trouble_ = std::move(trouble);
}

// The file itself is compared by what identifies it but for its size and time: WAL changes those at its leisure.
bool KeyRing::changed() {
  if (!file_) return true;
  const Result<platform::FileIdentity> now = platform::identify_file(path_);
  if (!now.ok() || !identity_ || now->device != identity_->device || now->inode != identity_->inode) return true;
  const Result<uint64_t> version = file_->version();
  return !version.ok() || *version != version_ || now->modified_ns != identity_->modified_ns;
}

bool KeyRing::read() {
  std::error_code error;
  const std::shared_ptr<const KeyTable> known = table();
  if (!fs::exists(path_, error) && !error) {
    file_.reset();
    if (known->unreadable) {  // what could not be read was moved away: there are no keys
      put(std::make_shared<KeyTable>(), "");
      return true;
    }
    put(nullptr, known->keys.empty() ? "" : fmt::format("{}: the key database is gone; the {} keys known before stay in force", path_.string(),
                                                        known->keys.size()));
    return false;
  }
  const auto failed = [&](const Error& why) {
    file_.reset();
    if (known->closed() && !known->unreadable) {
      put(nullptr, fmt::format("{}; the {} keys known before stay in force", why.message, known->keys.size()));
      return false;
    }
    std::shared_ptr<KeyTable> nothing;
    if (!known->unreadable) nothing = std::make_shared<KeyTable>();
    if (nothing) nothing->unreadable = true;
    put(nothing, why.message + "; until it can be read, every request is refused");
    return nothing != nullptr;
  };
  const Result<platform::FileIdentity> identity = platform::identify_file(path_);
  if (!identity.ok()) return failed(identity.error());
  if (identity->size == 0) {  // just made by `keys create`, which fills it next
    file_.reset();
    return false;
  }
  Result<KeyFile> opened = KeyFile::open(path_, KeyFile::Access::kRead);
  if (!opened.ok()) return failed(opened.error());
  const Result<uint64_t> version = opened->version();
  if (!version.ok()) return failed(version.error());
  Result<std::vector<StoredKey>> keys = opened->all();
  if (!keys.ok()) return failed(keys.error());
  file_ = std::move(*opened);
  identity_ = *identity;
  version_ = *version;
  put(make_table(std::move(*keys)), "");
  return true;
}

bool KeyRing::poll() {
  const std::lock_guard lock(file_lock_);
  return changed() && read();
}

Result<CreatedKey> KeyRing::create(const NewKey& wanted, int64_t now_s) {
  const std::lock_guard lock(file_lock_);
  SLUICE_TRY(KeyFile file, KeyFile::open(path_, KeyFile::Access::kCreate));
  Result<CreatedKey> created = file.create(wanted, now_s);
  read();
  return created;
}

Result<Key> KeyRing::revoke(std::string_view id_or_name, int64_t now_s) {
  const std::lock_guard lock(file_lock_);
  SLUICE_TRY(KeyFile file, KeyFile::open(path_, KeyFile::Access::kWrite));
  Result<Key> revoked = file.revoke(id_or_name, now_s);
  read();
  return revoked;
}

Result<Key> KeyRing::change(std::string_view id_or_name, const KeyFile::Change& change) {
  const std::lock_guard lock(file_lock_);
  SLUICE_TRY(KeyFile file, KeyFile::open(path_, KeyFile::Access::kWrite));
  Result<Key> changed = file.change(id_or_name, change);
  read();
  return changed;
}

Result<std::vector<KeyUse>> KeyRing::uses() const {
  SLUICE_TRY(const KeyFile file, KeyFile::open(path_, KeyFile::Access::kRead));
  return file.uses();
}

Status KeyRing::save_uses(std::span<const KeyUse> uses) {
  const std::lock_guard lock(file_lock_);
  SLUICE_TRY(KeyFile file, KeyFile::open(path_, KeyFile::Access::kWrite));
  return file.save_uses(uses);
}

}  // namespace sluice::server
