// `sluice keys`: the keys of a server on this machine, as it reads them from the state folder.
#pragma once

#include <array>
#include <optional>
#include <string>

namespace sluice::cli {

struct KeysOptions {
  std::string file;   // empty: keys.db in the state folder
  std::string name;   // of create: the new key's; of revoke and limit: a name or an id
  std::array<std::string, 5> limits;  // "", "none" or a number, in the order of server::kLimitFacts
  std::string tier;
  bool admin = false;
  bool no_admin = false;
  bool json = false;
};
int keys_create(const KeysOptions& options);
int keys_list(const KeysOptions& options);
int keys_revoke(const KeysOptions& options);
int keys_limit(const KeysOptions& options);

}  // namespace sluice::cli
