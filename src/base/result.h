// Result<T>: a value, or an Error with a sentence a person can act on. What the world can cause (a file, a request, a flag) is returned as
// a Result; what only our own bugs can cause is a CHECK (base/check.h). std::expected is not used: gcc 12 hides it from clang 14.
#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/check.h"

namespace sluice {

// The message names the offending value and the limit, without a trailing period or newline.
struct Error {
  std::string message;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { SLUICE_CHECK(ok()); return std::get<0>(state_); }
  const T& value() const& { SLUICE_CHECK(ok()); return std::get<0>(state_); }
  T&& value() && { SLUICE_CHECK(ok()); return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const { SLUICE_CHECK(!ok()); return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const { SLUICE_CHECK(!ok()); return *error_; }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace sluice

#define SLUICE_CONCAT_INNER(a, b) a##b
#define SLUICE_CONCAT(a, b) SLUICE_CONCAT_INNER(a, b)

// SLUICE_TRY(auto file, open(path)); binds the value or returns the error from the enclosing function.
#define SLUICE_TRY(binding, expression) SLUICE_TRY_IMPL(SLUICE_CONCAT(sluice_try_, __LINE__), binding, expression)
#define SLUICE_TRY_IMPL(name, binding, expression) \
  auto name = (expression);                        \
  if (!name.ok()) return name.error();             \
  binding = std::move(name).value()

// SLUICE_TRY_VOID(check(x)); returns the error, if any.
#define SLUICE_TRY_VOID(expression)                                         \
  do {                                                                      \
    auto sluice_status = (expression);                                      \
    if (!sluice_status.ok()) return sluice_status.error();                  \
  } while (false)
