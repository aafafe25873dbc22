// The program as a person or a script meets it: exit codes, sentences, JSON fields; and that it keeps its memory promise.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "platform/cpu.h"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  int status = -1;
  std::string text;  // standard output and standard error
  uint64_t peak_bytes = 0;
};

// Runs `sluice ARGUMENTS` in a shell, without standard input.
Outcome sluice(const std::string& arguments) {
  Outcome outcome;
  int ends[2];
  if (pipe(ends) != 0) return outcome;
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    const std::string command = "exec " SLUICE_BINARY " " + arguments + " </dev/null";
    execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    _exit(127);
  }
  close(ends[1]);
  char buffer[4096];
  for (ssize_t n = read(ends[0], buffer, sizeof buffer); n > 0; n = read(ends[0], buffer, sizeof buffer)) outcome.text.append(buffer, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  rusage usage{};
  wait4(child, &status, 0, &usage);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  outcome.peak_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  return outcome;
}

nlohmann::json json_of(const Outcome& outcome) { return nlohmann::json::parse(outcome.text, nullptr, false); }

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(Run, WithoutATerminalItAnswersOneDefaultPromptAndExits0) {
  const Outcome outcome = sluice("run -n 8");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_TRUE(contains(outcome.text, "> Tell me a short story")) << outcome.text;
}

TEST(Run, TheSameSeedGivesTheSameTextOnEveryInstructionSetAndThreadCount) {
  const Outcome first = sluice("run -n 24 --seed 7 --json -p 'Once upon a time' --isa baseline --threads 1");
  ASSERT_EQ(first.status, 0) << first.text;
  for (const char* isa : {"avx2", "avx512"}) {
    if (!platform::supports(*isa_from_name(isa))) continue;
    const Outcome again = sluice("run -n 24 --seed 7 --json -p 'Once upon a time' --threads 2 --isa " + std::string(isa));
    EXPECT_EQ(json_of(again)["text"], json_of(first)["text"]);
  }
}

TEST(Run, ACapThatIsTooSmallIsRefusedWithTheSmallestCapAndTheLongestContext) {
  const Outcome outcome = sluice("run --memory 18M --ctx 65536 -n 4");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_TRUE(contains(outcome.text, "the longest context that fits is")) << outcome.text;
  EXPECT_TRUE(contains(outcome.text, "the smallest cap for this model is")) << outcome.text;
  const Outcome tiny = sluice("run --memory 1M -n 4");
  EXPECT_EQ(tiny.status, 1);
  EXPECT_TRUE(contains(tiny.text, "no context fits")) << tiny.text;
}

TEST(Run, AnInstructionSetThatIsUnknownOrMissingIsRefused) {
  EXPECT_TRUE(contains(sluice("run --isa avx9 -n 1").text, "one of baseline, avx2, avx512"));
  for (const char* isa : {"avx2", "avx512"}) {
    if (platform::supports(*isa_from_name(isa))) continue;
    EXPECT_TRUE(contains(sluice("run -n 1 --isa " + std::string(isa)).text, "not supported"));
  }
}

TEST(Run, PeakMemoryStaysWithinThePlanAnd32MiB) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep shadow memory of their own";
#endif
  const nlohmann::json plan = json_of(sluice("plan --ctx 2048 --json"));
  ASSERT_TRUE(plan.contains("bytes")) << plan.dump();
  const Outcome outcome = sluice("run --ctx 2048 -n 200 --temp 1 --json -p 'The old house stood'");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_LE(outcome.peak_bytes, plan["bytes"]["total"].get<uint64_t>() + (32ull << 20));
}

TEST(Run, AFileThatIsNoModelIsAnErrorNotACrash) {
  const Outcome missing = sluice("run /nonexistent.gguf -n 1");
  EXPECT_EQ(missing.status, 1);
  EXPECT_TRUE(contains(missing.text, "/nonexistent.gguf")) << missing.text;
  const Outcome binary = sluice("run " SLUICE_BINARY " -n 1");
  EXPECT_EQ(binary.status, 1) << binary.text;
  EXPECT_EQ(sluice("run /dev/zero -n 1").status, 1);
}

TEST(Plan, AConfigAloneGivesTheBytesOfARun) {
  const fs::path config = fs::path(SLUICE_SHARED_DIR) / "data/configs/jamba-reasoning-3b.json";
  if (!fs::exists(config)) GTEST_SKIP() << "no " << config << ": the reference data is not beside the project";
  const nlohmann::json plan = json_of(sluice("plan " + config.string() + " --ctx 262144 --users 2 --weights q4_k --kv f16 --memory 4G --json"));
  EXPECT_EQ(plan["params_total"], 3029337472u);
  EXPECT_EQ(plan["params_active"], 3029337472u);
  EXPECT_EQ(plan["bytes"]["kv"], 2ull * 262144 * 1024);
  EXPECT_EQ(plan["bytes"]["state"], 2ull * 10117120);
  EXPECT_EQ(plan["bytes"]["total"], plan["bytes"]["weights"].get<uint64_t>() + plan["bytes"]["kv"].get<uint64_t>() + plan["bytes"]["state"].get<uint64_t>() +
                                        plan["bytes"]["activations"].get<uint64_t>());
  EXPECT_TRUE(plan["fits"].is_boolean());
  EXPECT_TRUE(plan["max_context"].is_number_unsigned());
}

TEST(Tokenize, IdsComeBackAsTheSameText) {
  const Outcome ids = sluice("tokenize --text 'The fox said: \"hello\", 42 times.'");
  ASSERT_EQ(ids.status, 0) << ids.text;
  const Outcome text = sluice("detokenize --text '" + ids.text.substr(0, ids.text.size() - 1) + "'");
  EXPECT_EQ(text.text, "The fox said: \"hello\", 42 times.");
  EXPECT_TRUE(contains(sluice("detokenize --text '3 x 4'").text, "is not a token id"));
}

TEST(Logits, ChunksAndASplitGiveTheSameFile) {
  const fs::path folder = fs::temp_directory_path() / ("sluice-verbs-" + std::to_string(getpid()));
  fs::create_directories(folder);
  std::ofstream(folder / "ids") << "5 6 7 8 9 10 11 12 13 14 15 16";
  const std::string base = "logits --tokens-file " + (folder / "ids").string() + " --hidden --out ";
  ASSERT_EQ(sluice(base + (folder / "a").string()).status, 0);
  ASSERT_EQ(sluice(base + (folder / "b").string() + " --chunk 5 --threads 1").status, 0);
  ASSERT_EQ(sluice(base + (folder / "c").string() + " --split 7").status, 0);
  const auto bytes = [&](const char* name) {
    std::ifstream file(folder / name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_FALSE(bytes("a").empty());
  EXPECT_EQ(bytes("a"), bytes("b"));
  EXPECT_EQ(bytes("a"), bytes("c"));
  fs::remove_all(folder);
}

TEST(Help, EveryVerbTeaches) {
  for (const char* verb : {"run", "plan", "compile", "inspect", "tokenize", "detokenize", "render", "logits", "perplexity"}) {
    const Outcome outcome = sluice(std::string(verb) + " --help");
    EXPECT_EQ(outcome.status, 0) << verb;
    EXPECT_TRUE(contains(outcome.text, "--")) << verb;
  }
  EXPECT_EQ(sluice("dance").status, 2);
  EXPECT_EQ(sluice("run --temperatur 3").status, 2);
}

}  // namespace
}  // namespace sluice::cli
