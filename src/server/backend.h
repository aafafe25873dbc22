// What routes need of an engine, so that tests can put a fake in its place. engine_backend.h is the real one.
// Contract: as engine/engine.h says of the members of the same name.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "engine/engine.h"

namespace sluice::server {

class Backend {
 public:
  virtual ~Backend() = default;
  virtual engine::Submitted submit(engine::Request request, std::shared_ptr<engine::ResponseSink> sink) = 0;
  virtual void cancel(engine::RequestId id) = 0;
  virtual void drain() = 0;
  virtual engine::EngineStatistics statistics() const = 0;
  virtual const engine::EngineOptions& options() const = 0;
  // Waits for the engine's thread: not on the I/O thread.
  virtual void with_store(const std::function<void(engine::StateStore&)>& work) = 0;
  virtual void forget(uint32_t tenant, std::span<const int32_t> tokens) = 0;  // likewise
};

}  // namespace sluice::server
