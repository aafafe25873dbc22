// `sluice keys create | list | revoke | limit`. A running server sees every change within a second.
#include "cli/verb_keys.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "cli/output.h"
#include "server/keys.h"

namespace sluice::cli {
namespace {

using nlohmann::ordered_json;
using server::Key;
using server::KeyFile;

std::filesystem::path file_of(const KeysOptions& o) { return o.file.empty() ? server::default_key_file() : std::filesystem::path(o.file); }

int64_t now_s() { return static_cast<int64_t>(std::time(nullptr)); }

ordered_json json_of(const Key& key) {
  ordered_json limits;
  for (size_t kind = 0; kind < server::kLimitKinds; ++kind) {
    const uint64_t limit = key.limits.values[kind];
    limits[std::string(server::kLimitFacts[kind].name)] = limit == 0 ? ordered_json(nullptr) : ordered_json(limit);
  }
  return {{"id", key.id},         {"name", key.name},     {"tier", server::key_tier_name(key.tier)},
          {"admin", key.admin},   {"created", key.created_s}, {"revoked", key.revoked_s == 0 ? ordered_json(nullptr) : ordered_json(key.revoked_s)},
          {"limits", std::move(limits)}};
}

std::string limits_text(const Key& key) {
  std::string out;
  for (size_t kind = 0; kind < server::kLimitKinds; ++kind) {
    if (key.limits.values[kind] != 0) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", server::kLimitFacts[kind].name, key.limits.values[kind]);
  }
  return out.empty() ? "no limits" : out;
}

void print_key(const Key& key) {
  fmt::print("{}  {:<24} {:<11} {:%Y-%m-%d}  {}{}\n", key.id, key.name, server::key_tier_name(key.tier), fmt::gmtime(static_cast<std::time_t>(key.created_s)),
             limits_text(key), key.admin ? "  admin" : "");
}

Result<std::array<std::optional<uint64_t>, server::kLimitKinds>> limits_of(const KeysOptions& o) {
  std::array<std::optional<uint64_t>, server::kLimitKinds> limits;
  for (size_t kind = 0; kind < server::kLimitKinds; ++kind) {
    if (o.limits[kind].empty()) continue;
    SLUICE_TRY(limits[kind], server::parse_limit(server::kLimitFacts[kind].name, o.limits[kind]));
  }
  return limits;
}

Result<server::CreatedKey> create(const KeysOptions& o) {
  server::NewKey wanted{.name = o.name, .admin = o.admin};
  SLUICE_TRY(const auto limits, limits_of(o));
  for (size_t kind = 0; kind < server::kLimitKinds; ++kind) wanted.limits.values[kind] = limits[kind].value_or(0);
  if (!o.tier.empty()) {
    SLUICE_TRY(wanted.tier, server::key_tier_from_name(o.tier));
  }
  SLUICE_TRY(KeyFile file, KeyFile::open(file_of(o), KeyFile::Access::kCreate));
  return file.create(wanted, now_s());
}

Result<Key> change(const KeysOptions& o) {
  KeyFile::Change change;
  SLUICE_TRY(change.limits, limits_of(o));
  if (!o.tier.empty()) {
    SLUICE_TRY(change.tier, server::key_tier_from_name(o.tier));
  }
  if (o.admin) change.admin = true;
  if (o.no_admin) change.admin = false;
  SLUICE_TRY(KeyFile file, KeyFile::open(file_of(o), KeyFile::Access::kWrite));
  return file.change(o.name, change);
}

Result<Key> revoke(const KeysOptions& o) {
  SLUICE_TRY(KeyFile file, KeyFile::open(file_of(o), KeyFile::Access::kWrite));
  return file.revoke(o.name, now_s());
}

Result<std::vector<server::StoredKey>> all(const KeysOptions& o) {
  std::error_code error;
  if (!std::filesystem::exists(file_of(o), error) && !error) return std::vector<server::StoredKey>{};
  SLUICE_TRY(const KeyFile file, KeyFile::open(file_of(o), KeyFile::Access::kRead));
  return file.all();
}

int show(const KeysOptions& o, const Result<Key>& key, std::string_view done) {
  if (!key.ok()) return fail(key.error());
  if (o.json) fmt::print("{}\n", json_of(*key).dump());
  else fmt::print("{} {} ({}): {}\n", done, key->name, key->id, limits_text(*key));
  return 0;
}

}  // namespace

int keys_create(const KeysOptions& o) {
  const Result<server::CreatedKey> created = create(o);
  if (!created.ok()) return fail(created.error());
  if (o.json) {
    ordered_json out = json_of(created->key);
    out["key"] = created->text;
    fmt::print("{}\n", out.dump());
    return 0;
  }
  fmt::print("key {} ({}): {}. Keep it: it is shown this once and stored as a hash only.\n{}\n", created->key.name, created->key.id,
             limits_text(created->key), created->text);
  return 0;
}

int keys_list(const KeysOptions& o) {
  const Result<std::vector<server::StoredKey>> keys = all(o);
  if (!keys.ok()) return fail(keys.error());
  ordered_json out = ordered_json::array();
  for (const Key& key : *keys) {
    if (o.json) out.push_back(json_of(key));
    else if (key.revoked_s == 0) print_key(key);
  }
  if (o.json) fmt::print("{}\n", out.dump());
  else if (keys->empty()) fmt::print(stderr, "sluice: no keys in {}: a server on this machine asks for none\n", file_of(o).string());
  return 0;
}

int keys_revoke(const KeysOptions& o) { return show(o, revoke(o), "revoked"); }

int keys_limit(const KeysOptions& o) { return show(o, change(o), "changed"); }

}  // namespace sluice::cli
