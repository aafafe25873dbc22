#include "server/open_gate.h"

namespace sluice::server {

Authenticated OpenGate::authenticate(const Credentials&, bool admin_route) {
  Authenticated out;
  out.identity.key_id = "open";
  out.identity.name = "anyone";
  out.identity.admin = admin_route;
  return out;
}

Admission OpenGate::admit(const Identity&, const Price& price) {
  Admission out;
  out.tier = price.batch ? engine::Tier::kBatch : price.tier;
  return out;
}

}  // namespace sluice::server
