#include "server/exchange.h"

#include <algorithm>

namespace sluice::server {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal_names(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace

std::string_view HttpRequest::header(std::string_view name) const {
  for (const Header& h : headers) {
    if (equal_names(h.name, name)) return h.value;
  }
  return {};
}

std::string_view HttpRequest::query_value(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) return value;
  }
  return {};
}

void Exchange::note(std::string_view model, std::string_view error_code) {
  const std::lock_guard lock(note_mutex_);
  if (!model.empty()) noted_model_ = model;
  if (!error_code.empty()) noted_error_ = error_code;
}

}  // namespace sluice::server
