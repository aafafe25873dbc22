// The program as a person or a script meets it: exit codes, sentences, JSON fields; and that it keeps its memory promise.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "platform/cpu.h"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  int status = -1;
  std::string text;  // standard output and standard error
  uint64_t peak_bytes = 0;
};

// Runs `sluice ARGUMENTS` in a shell, with standard input from a file or pipe of the shell's making.
Outcome sluice(const std::string& arguments, const std::string& input = "</dev/null") {
  Outcome outcome;
  int ends[2];
  if (pipe(ends) != 0) return outcome;
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    const std::string program = SLUICE_BINARY " " + arguments;
    const std::string command = input.starts_with("<") ? "exec " + program + " " + input : input + " | " + program;
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

TEST(Run, APipedPromptIsAnsweredLikeOneOnTheCommandLine) {
  const Outcome piped = sluice("run -n 8 --seed 3 --json", "printf 'Once upon a time\\n'");
  ASSERT_EQ(piped.status, 0) << piped.text;
  EXPECT_EQ(json_of(piped)["prompt"], "Once upon a time");
  EXPECT_EQ(json_of(piped)["text"], json_of(sluice("run -n 8 --seed 3 --json -p 'Once upon a time'"))["text"]);
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

uint64_t number_after(const std::string& text, const std::string& words) {
  const size_t at = text.find(words);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + words.size(), nullptr, 10);
}

// The numbers of a refusal are the border: with them it runs, one step beyond it does not; and `plan` draws the same border.
TEST(Run, WhatARefusalNamesIsTheBorder) {
  const uint64_t given = json_of(sluice("plan --json --ctx 1024 --rows 16"))["bytes"]["total"];
  const std::string memory = "--memory " + std::to_string(given) + " --ctx ";
  const std::string refusal = sluice("run -n 1 " + memory + "65536").text;
  const uint64_t cap = number_after(refusal, "the smallest cap for this model is "), context = number_after(refusal, "the longest context that fits is ");
  ASSERT_GT(cap, 1u << 20) << refusal;
  EXPECT_EQ(context, 1024u) << refusal;
  for (const auto& [options, fits] : std::vector<std::pair<std::string, bool>>{{"--memory " + std::to_string(cap), true},
                                                                               {"--memory " + std::to_string(cap - 1), false},
                                                                               {memory + std::to_string(context), true},
                                                                               {memory + std::to_string(context + 64), false}}) {
    SCOPED_TRACE(options);
    EXPECT_EQ(sluice("run -p Hi -n 1 --raw " + options).status, fits ? 0 : 1);
    EXPECT_EQ(json_of(sluice("plan --json " + options))["fits"], fits);
  }
  const nlohmann::json plan = json_of(sluice("plan --json " + memory + "65536"));
  EXPECT_EQ(plan["max_context"], context);
  EXPECT_EQ(plan["smallest_cap"], cap);
}

// Every verb that the issue of a model file names, with what it needs to come to an end.
std::vector<std::string> verbs_with_a_model(const fs::path& scratch) {
  std::ofstream(scratch / "ids") << "5 6 7 8 9";
  std::ofstream(scratch / "messages.json") << R"([{"role": "user", "content": "Hi"}])";
  const std::string folder = scratch.string() + "/";
  return {"run -p Hi -n 1", "plan", "compile -o " + folder + "package", "inspect", "tokenize --text Hi", "detokenize --text 5",
          "render --messages " + folder + "messages.json", "logits --tokens-file " + folder + "ids --out " + folder + "logits",
          "perplexity --ids --file " + folder + "ids --window 4"};
}

TEST(EveryVerb, TakesJsonThreadsAndIsaAndRefusesASetThatIsUnknownOrMissing) {
  const fs::path scratch = fs::temp_directory_path() / ("sluice-every-verb-" + std::to_string(getpid()));
  fs::create_directories(scratch);
  for (const std::string& verb : verbs_with_a_model(scratch)) {
    SCOPED_TRACE(verb);
    const Outcome outcome = sluice(verb + " --json --threads 1 --isa baseline");
    EXPECT_EQ(outcome.status, 0) << outcome.text;
    EXPECT_TRUE(json_of(outcome).is_object()) << outcome.text;
    const Outcome unknown = sluice(verb + " --isa avx9");
    EXPECT_EQ(unknown.status, 1);
    EXPECT_TRUE(contains(unknown.text, "one of baseline, avx2, avx512")) << unknown.text;
    EXPECT_EQ(sluice(verb + " --threads 0").status, 2);
    for (const char* isa : {"avx2", "avx512"}) {
      if (platform::supports(*isa_from_name(isa))) continue;
      const Outcome missing = sluice(verb + " --isa " + isa);
      EXPECT_EQ(missing.status, 1);
      EXPECT_TRUE(contains(missing.text, "not supported")) << missing.text;
    }
  }
  // What compile wrote is a model to every other verb.
  const std::string package = (scratch / "package").string();
  for (const std::string& verb : {"run " + package + " -p Hi -n 1", "plan " + package, "inspect " + package, "tokenize " + package + " --text Hi",
                                  "render " + package + " --messages " + (scratch / "messages.json").string(),
                                  "perplexity " + package + " --ids --window 4 --file " + (scratch / "ids").string()}) {
    EXPECT_TRUE(json_of(sluice(verb + " --json")).is_object()) << verb;
  }
  for (const std::string& model : {std::string(), package}) {
    const std::string program = sluice("inspect --program " + model).text;
    EXPECT_TRUE(program.starts_with("sluice-program")) << program;
    EXPECT_EQ(json_of(sluice("inspect --program --json " + model))["program"], program);
  }
  fs::remove_all(scratch);
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

TEST(Plan, TypesMayBeSpeltAsFilesSpellThem) {
  for (const char* type : {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"}) {
    std::string lower = type;
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const nlohmann::json plan = json_of(sluice("plan --json --kv F16 --isa BASELINE --weights " + std::string(type)));
    EXPECT_TRUE(plan.is_object()) << type;
    EXPECT_EQ(plan, json_of(sluice("plan --json --weights " + lower))) << type;
  }
  EXPECT_TRUE(contains(sluice("plan --weights Q9_Z").text, "unknown type"));
}

// The 14 published shapes of data/configs, and the table of their README.
TEST(Plan, EveryPublishedShapeCostsWhatItsTableSays) {
  const fs::path configs = fs::path(SLUICE_SHARED_DIR) / "data/configs";
  if (!fs::exists(configs)) GTEST_SKIP() << "no " << configs << ": the reference data is not beside the project";
  std::ifstream readme(configs / "README.md");
  size_t shapes = 0;
  for (std::string line; std::getline(readme, line);) {
    if (!contains(line, ".json |")) continue;
    std::erase(line, ',');
    std::erase(line, '|');
    std::istringstream cells(line);
    std::string file;
    uint64_t total = 0, active = 0, kv = 0, state = 0;
    cells >> file >> total >> active >> kv >> state;
    SCOPED_TRACE(file);
    const nlohmann::json plan = json_of(sluice("plan " + (configs / file).string() + " --ctx 4096 --users 3 --kv f16 --json"));
    EXPECT_EQ(plan["params_total"], total);
    EXPECT_EQ(plan["params_active"], active);
    EXPECT_EQ(plan["bytes"]["kv"], 3 * 4096 * kv);
    EXPECT_EQ(plan["bytes"]["state"], 3 * state);
    ++shapes;
  }
  EXPECT_EQ(shapes, 14u);
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
  std::ofstream(folder / "wild") << "5 6 7 2000000000 8";
  for (const std::string& verb : {"logits --out " + (folder / "d").string() + " --tokens-file ", std::string("perplexity --ids --window 3 --file ")}) {
    const Outcome outcome = sluice(verb + (folder / "wild").string());
    EXPECT_EQ(outcome.status, 1);
    EXPECT_TRUE(contains(outcome.text, "token id 2000000000 is outside the vocabulary")) << outcome.text;
  }
  EXPECT_FALSE(fs::exists(folder / "d"));
  EXPECT_EQ(bytes("a"), bytes("b"));
  EXPECT_EQ(bytes("a"), bytes("c"));
  fs::remove_all(folder);
}

// Windows start anew, so two equal windows are equally surprising; a window predicts all of its tokens but the first.
TEST(Perplexity, CountsWhatItsWindowsPredict) {
  const fs::path file = fs::temp_directory_path() / ("sluice-perplexity-" + std::to_string(getpid()));
  std::ofstream(file) << "5 6 7 8 5 6 7 8 9";
  const std::string base = "perplexity --json --ids --window 4 --file " + file.string();
  const nlohmann::json one = json_of(sluice(base + " --first 4")), two = json_of(sluice(base));
  EXPECT_EQ(one["tokens"], 3);
  EXPECT_EQ(two["tokens"], 6);
  EXPECT_DOUBLE_EQ(one["nll"], two["nll"]);
  fs::remove(file);
}

TEST(Perplexity, PairsFollowTheChainRule) {
  const fs::path file = fs::temp_directory_path() / ("sluice-pairs-" + std::to_string(getpid()));
  std::ofstream(file) << R"({"context": "Once upon a", "text": " time there was"})" << "\n"
                      << R"({"context": "Once upon a time there was", "text": " a fox\nwho ran"})" << "\n"
                      << R"({"context": "Once upon a", "text": " time there was a fox\nwho ran"})" << "\n";
  const Outcome outcome = sluice("perplexity --json --pairs " + file.string());
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  const nlohmann::json pairs = json_of(outcome)["pairs"];
  ASSERT_EQ(pairs.size(), 3u);
  EXPECT_GT(pairs[0]["nll"], 0);
  EXPECT_NEAR(pairs[0]["nll"].get<double>() + pairs[1]["nll"].get<double>(), pairs[2]["nll"].get<double>(), 1e-3);
  EXPECT_EQ(pairs[0]["tokens"].get<int>() + pairs[1]["tokens"].get<int>(), pairs[2]["tokens"].get<int>());
  EXPECT_EQ(pairs[2]["bytes"], 29);
  std::ofstream(file) << R"({"context": "Once"})" << "\n";
  EXPECT_TRUE(contains(sluice("perplexity --pairs " + file.string()).text, "line 1: expected an object"));
  EXPECT_EQ(sluice("perplexity").status, 2);
  fs::remove(file);
}

TEST(Bench, APeerThatFailsCostsTheComparisonNotOurFigures) {
  const std::string model = SLUICE_SOURCE_DIR "/models/sluice-jamba.gguf";
  const Outcome outcome = sluice("bench " + model + " --peer /bin/false --prefill 8 --decode 0 --repeats 1 --threads 1 --json");
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  const nlohmann::json figure = json_of(outcome)["figures"][0];
  EXPECT_GT(figure["tokens_per_second"]["median"], 0.0) << outcome.text;
  EXPECT_EQ(figure["peer_error"], "--peer /bin/false: exit status 1");
  EXPECT_FALSE(figure.contains("ratio"));
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
