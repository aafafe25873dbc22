#include "cli/timing_peer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

extern char** environ;

namespace sluice::cli {
namespace {

constexpr size_t kOutputBytesMax = 4u << 20;

struct Finished {
  std::string output;
  uint64_t peak_rss = 0;
};

// A program that runs to its end, its standard error dropped.
Result<Finished> finished(const std::vector<std::string>& arguments) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error{fmt::format("--peer: no pipe: {}", std::strerror(errno))};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t child = 0;
  const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; error == 0 && ((got = read(ends[0], buffer, sizeof(buffer))) > 0 || (got < 0 && errno == EINTR));) {
    if (got > 0 && text.size() < kOutputBytesMax) text.append(buffer, static_cast<size_t>(got));
  }
  close(ends[0]);
  if (error != 0) return Error{fmt::format("--peer {}: cannot be started: {}", arguments[0], std::strerror(error))};
  int status = 0;
  rusage usage{};
  while (wait4(child, &status, 0, &usage) < 0 && errno == EINTR) {}
  if (WIFSIGNALED(status)) return Error{fmt::format("--peer {}: ended by signal {}", arguments[0], WTERMSIG(status))};
  if (WEXITSTATUS(status) != 0) return Error{fmt::format("--peer {}: exit status {}", arguments[0], WEXITSTATUS(status))};
  return Finished{std::move(text), static_cast<uint64_t>(usage.ru_maxrss) * 1024};
}

Result<double> speed_field(const nlohmann::json& object, const char* field) {
  const auto found = object.is_object() ? object.find(field) : object.end();
  if (!object.is_object() || found == object.end() || !found->is_number()) return Error{fmt::format("--peer: its output has no number {}", field)};
  return found->get<double>();
}

}  // namespace

std::vector<std::string> peer_arguments(const Peer& peer, const PeerCase& what) {
  std::vector<std::string> out = {peer.program};
  out.insert(out.end(), peer.arguments.begin(), peer.arguments.end());
  const auto add = [&](std::string_view option, const std::string& value) {
    out.emplace_back(option);
    out.push_back(value);
  };
  const auto text = [](uint64_t n) { return std::to_string(n); };
  add("-m", peer.model);
  add("-t", text(peer.threads));
  if (what.sequences > 1) {
    add("-npp", "1");
    add("-ntg", text(what.generate));
    add("-npl", text(what.sequences));
    add("-c", text((what.generate + 32) * what.sequences));
    add("--output-format", "jsonl");
    return out;
  }
  add("-p", text(what.prompt));
  add("-n", text(what.generate));
  if (what.depth > 0) add("-d", text(what.depth));
  add("-r", "1");
  add("-o", "json");
  return out;
}

Result<double> parse_peer_output(std::string_view text, const PeerCase& what) {
  using nlohmann::json;
  const char open = what.sequences > 1 ? '{' : '[';
  const size_t begin = text.find(open);
  if (begin == std::string_view::npos) return Error{"--peer: its output holds no JSON"};
  std::string_view body = text.substr(begin);
  if (what.sequences > 1) {
    body = body.substr(0, body.find('\n'));
  } else {
    body = body.substr(0, body.rfind(']') + 1);
  }
  const json parsed = json::parse(body, nullptr, false);
  if (parsed.is_discarded()) return Error{"--peer: its output is not JSON"};
  if (what.sequences > 1) return speed_field(parsed, "speed_tg");
  for (const json& test : parsed) {
    if (test.is_object() && test.value("n_prompt", uint64_t{0}) == what.prompt && test.value("n_gen", uint64_t{0}) == what.generate) {
      return speed_field(test, "avg_ts");
    }
  }
  return Error{fmt::format("--peer: its output has no test of {} prompt and {} generated tokens", what.prompt, what.generate)};
}

Result<PeerResult> run_peer_once(const Peer& peer, const PeerCase& what) {
  SLUICE_TRY(const Finished done, finished(peer_arguments(peer, what)));
  SLUICE_TRY(const double speed, parse_peer_output(done.output, what));
  return PeerResult{speed, done.peak_rss};
}

}  // namespace sluice::cli
