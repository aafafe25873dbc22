// What is wrong with a TLS certificate, in a sentence, before clients find out: dates, the key that does not belong to it, files that cannot be read.
// Contract: reads two PEM files and nothing else; the key's bytes are wiped. Next: http.h (reload_tls).
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace sluice::server {

struct CertificateFacts {
  std::string subject;      // common name, or the first alternative name
  int64_t not_before_s = 0, not_after_s = 0;  // Unix time
  // A sentence when clients will refuse it although it can be served: expired, not yet valid; or when it soon will be. Empty: all is well.
  std::string warning;
  bool expired = false;
};

// An Error when it cannot be served at all.
Result<CertificateFacts> check_certificate(const std::string& certificate_file, const std::string& key_file, int64_t now_s);

}  // namespace sluice::server
