// The backend that is an engine.
#pragma once

#include <memory>
#include <utility>

#include "server/backend.h"

namespace sluice::server {

class EngineBackend final : public Backend {
 public:
  explicit EngineBackend(engine::Engine& engine) : engine_(engine) {}
  engine::Submitted submit(engine::Request request, std::shared_ptr<engine::ResponseSink> sink) override {
    return engine_.submit(std::move(request), std::move(sink));
  }
  void cancel(engine::RequestId id) override { engine_.cancel(id); }
  void drain() override { engine_.drain(); }
  engine::EngineStatistics statistics() const override { return engine_.statistics(); }
  const engine::EngineOptions& options() const override { return engine_.options(); }
  void with_store(const std::function<void(engine::StateStore&)>& work) override { engine_.with_store(work); }
  void forget(uint32_t tenant, std::span<const int32_t> tokens) override { engine_.forget(tenant, tokens); }

 private:
  engine::Engine& engine_;
};

}  // namespace sluice::server
