#include "server/router.h"

#include <nlohmann/json.hpp>

namespace sluice::server {
namespace {

using Json = nlohmann::ordered_json;

// The next segment of a path that begins with '/', which is taken off.
std::string_view take_segment(std::string_view& path) {
  path.remove_prefix(1);
  const size_t end = std::min(path.find('/'), path.size());
  const std::string_view segment = path.substr(0, end);
  path.remove_prefix(end);
  return segment;
}

bool is_hole(std::string_view segment) { return segment.size() > 2 && segment.front() == '{' && segment.back() == '}'; }

bool matches(std::string_view pattern, std::string_view path, std::vector<std::string>& values) {
  values.clear();
  while (!pattern.empty() && !path.empty()) {
    const std::string_view rest = path.substr(1);
    const std::string_view wanted = take_segment(pattern);
    if (is_hole(wanted) && wanted.ends_with("...}")) {
      values.emplace_back(rest);
      return !rest.empty();
    }
    const std::string_view given = take_segment(path);
    if (is_hole(wanted)) {
      if (given.empty()) return false;
      values.emplace_back(given);
    } else if (wanted != given) {
      return false;
    }
  }
  return pattern.empty() && path.empty();
}

Json openapi_parameters(std::string_view pattern, std::string& path) {
  Json parameters = Json::array();
  path.clear();
  while (!pattern.empty()) {
    std::string_view segment = take_segment(pattern);
    path += '/';
    if (!is_hole(segment)) {
      path += segment;
      continue;
    }
    segment = segment.substr(1, segment.size() - 2);
    if (segment.ends_with("...")) segment.remove_suffix(3);
    path += "{" + std::string(segment) + "}";
    parameters.push_back({{"name", segment}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}, {"minLength", 1}}}});
  }
  return parameters;
}

std::string operation_id(std::string_view method, std::string_view path) {
  std::string id(method);
  for (const char c : path) id += (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ? c : '_';
  return id;
}

// "multipart/form-data {...}"
Json content_of(std::string_view schema) {
  const size_t begin = schema.find('{');
  const std::string_view type = begin == 0 ? "application/json" : schema.substr(0, schema.find(' '));
  return {{std::string(type), {{"schema", Json::parse(schema.substr(begin))}}}};
}

}  // namespace

void Router::add(Route route) {
  for (const Route& other : routes_) SLUICE_CHECK(other.method != route.method || other.pattern != route.pattern || other.access != route.access);
  SLUICE_CHECK(route.pattern.starts_with('/') && route.handler);
  routes_.push_back(std::move(route));
}

void Router::add(std::vector<Route> routes) {
  for (Route& route : routes) add(std::move(route));
}

Match Router::find(std::string_view method, std::string_view path, bool admin_port) const {
  Match match;
  if (!path.starts_with('/')) return match;
  const std::string_view looked_for = method == "HEAD" ? "GET" : method;
  for (const Route& route : routes_) {
    const bool here = route.access == Access::kOpen || (route.access == Access::kAdmin) == admin_port;
    if (!here || !matches(route.pattern, path, match.values)) continue;
    if (route.method == looked_for) {
      match.route = &route;
      match.allow.clear();
      return match;
    }
    if (!match.allow.empty()) match.allow += ", ";
    match.allow += route.method;
    if (route.method == "GET") match.allow += ", HEAD";
  }
  match.values.clear();
  return match;
}

std::string Router::openapi(std::string_view server_version) const {
  Json out;
  out["openapi"] = "3.1.0";
  out["info"] = {{"title", "Sluice"}, {"version", server_version}};
  out["components"]["securitySchemes"]["key"] = {{"type", "http"}, {"scheme", "bearer"}};
  out["components"]["schemas"]["Error"] = {
      {"type", "object"},
      {"properties",
       {{"error", {{"type", "object"}, {"properties", {{"message", {{"type", "string"}}}, {"type", {{"type", "string"}}}}}, {"required", {"message"}}}}}}};
  Json& paths = out["paths"] = Json::object();
  const Json error_answer = {{"description", "Refused"}, {"content", {{"application/json", {{"schema", {{"type", "object"}}}}}}}};
  for (const Route& route : routes_) {
    if (route.access == Access::kAdmin) continue;
    std::string path;
    Json parameters = openapi_parameters(route.pattern, path);
    std::string verb(route.method);
    for (char& c : verb) c = static_cast<char>(c - 'A' + 'a');
    Json& operation = paths[path][verb];
    operation["operationId"] = operation_id(verb, path);
    operation["summary"] = route.summary;
    if (route.access != Access::kOpen) operation["security"] = Json::array({{{"key", Json::array()}}});
    const bool reads = route.method == "GET";
    if (reads && !route.request_schema.empty()) {
      for (Json& parameter : Json::parse(route.request_schema)) parameters.push_back(std::move(parameter));
    }
    if (!parameters.empty()) operation["parameters"] = std::move(parameters);
    if (!reads && !route.request_schema.empty()) operation["requestBody"] = {{"required", true}, {"content", content_of(route.request_schema)}};
    const std::string_view answer = route.response_schema.empty() ? R"({"type":"object"})" : route.response_schema;
    operation["responses"] = {{"200", {{"description", "Done"}, {"content", content_of(answer)}}}, {"default", error_answer}};
  }
  return out.dump();
}

}  // namespace sluice::server
