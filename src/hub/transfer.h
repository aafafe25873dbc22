// HTTP downloads by libcurl: a small text into memory, a large file onto the disk: resumed where it broke, checked against its checksum, put in place in
// one step.
// Contract: certificates are verified; only https, or http to this very machine; redirects stay with https. A file appears under its name only when every
// byte is there and the checksum, if one is known, is right. What is left of a broken download lies in NAME.part beside NAME.part.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::hub {

// "https://...", or "http://" with 127.0.0.1, [::1] or localhost.
Status check_url(std::string_view url);
std::string percent_encoded(std::string_view text);  // slashes stay

// A whole answer of at most bytes_max; anything but 200 is an Error that names the status. `token` (may be empty) goes to the URL's own host only.
Result<std::string> fetch_text(const std::string& url, const std::string& token, uint64_t bytes_max);

struct FileRequest {
  std::string url;
  std::string token;
  std::filesystem::path path;      // where it goes; its folder exists
  std::string sha256;              // expected, 64 hex digits; empty: what the server says in x-linked-etag or etag, if that is one
  std::string git_sha1;            // expected git blob id; used when no SHA-256 is known
  uint64_t bytes = 0;              // expected; 0: not known
  uint32_t attempts = 8;           // in a row without a new byte
  uint32_t wait_ms = 500;          // before the second; doubles
  std::function<void(uint64_t done, uint64_t total)> progress;  // total 0: not known
};
struct FileResult {
  uint64_t bytes = 0;
  uint64_t resumed_at = 0;         // bytes that were there already
  std::string sha256;
  bool checked = false;            // against something that was known
};
Result<FileResult> fetch_file(const FileRequest& request);

}  // namespace sluice::hub
