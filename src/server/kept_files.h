// Files that clients have sent, and those that batches have made. Contract: as kept.h. Next: file_routes.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/database.h"

namespace sluice::server {

struct KeptFile {
  int64_t number = 0;                  // rises
  std::string id;                      // "file-..."
  uint32_t tenant = 0;
  std::string purpose, name;
  uint64_t bytes = 0;
  int64_t created_s = 0, expires_s = 0;  // 0: never
};

// Which part of a list: behind the one called `after`.
struct Page {
  std::string after;
  uint32_t limit = 20;
  bool descending = true;              // the newest first
};

class KeptFiles {
 public:
  KeptFiles(Database& database, std::function<int64_t()> now_s) : database_(database), now_s_(std::move(now_s)) {}

  // Sets number, bytes and created_s. Refused beyond a tenant's share, in number or bytes.
  Refused add(KeptFile& file, std::string_view content);
  Refused get(uint32_t tenant, std::string_view id, KeptFile& out);
  Refused list(uint32_t tenant, std::string_view purpose, const Page& page, std::vector<KeptFile>& out, bool& more);
  // 409 while a batch reads it.
  Refused remove(uint32_t tenant, std::string_view id);
  Refused read(int64_t number, uint64_t at, std::span<char> out);
  // Removes what is due.
  void expire();

  // Under the database's lock and in a transaction: `file.bytes` zeros, to be written by Blob.
  Refused reserve(KeptFile& file);

 private:
  Refused find(uint32_t tenant, std::string_view id, KeptFile& out);
  Database& database_;
  const std::function<int64_t()> now_s_;
};

}  // namespace sluice::server
