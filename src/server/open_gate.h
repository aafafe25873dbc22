// The gate of a server without keys: everybody is one tenant, nothing is counted. The engine's own bounds still hold.
#pragma once

#include "server/admission.h"

namespace sluice::server {

class OpenGate final : public Gate {
 public:
  bool closed() const override { return false; }
  Authenticated authenticate(const Credentials&, bool admin_route) override;
  Admission admit(const Identity&, const Price& price) override;
  void finished(const Identity&, uint64_t, const Usage&) override {}
  std::vector<Header> headers(const Identity&) override { return {}; }
};

}  // namespace sluice::server
