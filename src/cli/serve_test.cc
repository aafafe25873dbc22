// `sluice serve` as a user meets it: the embedded model behind a real socket, streamed, constrained, cancelled, and ended by SIGTERM.
#include <gtest/gtest.h>

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "server/testing_client.h"

namespace sluice::cli {
namespace {

using Json = nlohmann::ordered_json;
using server::testing::Client;
using server::testing::events_of;
using server::testing::Reply;

// A running `sluice serve` on a free port; its standard output ends with the process.
class Served {
 public:
  explicit Served(const std::string& arguments) {
    int ends[2];
    if (pipe(ends) != 0) return;
    child_ = fork();
    if (child_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      close(ends[0]);
      close(ends[1]);
      const std::string command = "exec " SLUICE_BINARY " serve --port 0 --no-access-log --key-file /nonexistent/keys.db " + arguments;
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
    out_ = fdopen(ends[0], "r");
    address = line();
    plan = line();
  }
  ~Served() {
    if (child_ > 0) end(SIGKILL);
    if (out_) fclose(out_);
  }
  // The exit status, or minus the signal that ended it.
  int end(int signal) {
    kill(child_, signal);
    int status = 0;
    waitpid(std::exchange(child_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  Reply post(std::string_view path, std::string_view body) const { return Client(address).request("POST", path, body); }
  Json chat(std::string_view fields) const {
    const Reply reply = post("/v1/chat/completions", fmt::format(R"({{"messages":[{{"role":"user","content":"Tell me a story about a fox."}}]{}}})", fields));
    EXPECT_EQ(reply.status, 200) << reply.body;
    return Json::parse(reply.body, nullptr, false);
  }

  std::string address, plan;

 private:
  std::string line() {
    std::string out;
    for (int c = out_ ? fgetc(out_) : EOF; c != EOF && c != '\n'; c = fgetc(out_)) out += static_cast<char>(c);
    return out;
  }
  pid_t child_ = -1;
  FILE* out_ = nullptr;
};

// What was kept on disk is found again by the next process, on another instruction set, and the answer is the same to the last bit.
TEST(Serve, AConversationGoesOnAfterARestart) {
  char folder[] = "/tmp/sluice-serve-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string arguments = fmt::format("--ctx 512 --users 2 --store 64M --threads 1 --state-dir {}", folder);
  const std::string fields = R"(,"max_tokens":16,"seed":3,"temperature":0.8)";
  Json first;
  {
    Served served(arguments + " --isa baseline");
    first = served.chat(fields);
    EXPECT_EQ(first["usage"]["prompt_tokens_details"].value("cached_tokens", 0), 0);
    EXPECT_EQ(served.end(SIGTERM), 0);
  }
  Served served(arguments);
  const Json again = served.chat(fields);
  EXPECT_EQ(again["choices"][0]["message"]["content"], first["choices"][0]["message"]["content"]);
  EXPECT_GE(again["usage"]["prompt_tokens_details"].value("cached_tokens", 0) + 1, again["usage"]["prompt_tokens"].get<int>());
  EXPECT_EQ(served.end(SIGTERM), 0);
  std::filesystem::remove_all(folder);
}

TEST(Serve, EmbeddedModelEndToEnd) {
  Served served("--ctx 512 --users 4 --store 64M --threads 2");
  ASSERT_TRUE(served.address.starts_with("http://127.0.0.1:")) << served.address;
  for (const char* word : {"sluice-jamba", "context 512", "4 users", "memory"}) EXPECT_NE(served.plan.find(word), std::string::npos) << served.plan;

  // The same seed is the same answer, streamed or not, alone or beside others.
  const std::string fields = R"(,"max_tokens":24,"seed":11,"temperature":0.8)";
  const Json whole = served.chat(fields);
  const std::string text = whole["choices"][0]["message"]["content"];
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(whole["usage"]["completion_tokens"], 24);
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "length");
  EXPECT_GT(whole["usage"]["prompt_time"].get<double>(), 0);
  Client other(served.address);
  const std::string noise = R"({"prompt":"Once upon","max_tokens":200,"stream":true})";
  other.send(fmt::format("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}", noise.size(), noise));
  std::string streamed;
  const Reply stream = served.post("/openai/v1/chat/completions",
                                   R"({"messages":[{"role":"user","content":"Tell me a story about a fox."}],"stream":true)" + fields + "}");
  const std::vector<std::string> events = events_of(stream.body);
  ASSERT_FALSE(events.empty()) << stream.body;
  EXPECT_EQ(events.back(), "[DONE]");
  for (const std::string& event : events) {
    if (event != "[DONE]") streamed += Json::parse(event)["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(streamed, text);

  // The second time most of the prompt is remembered.
  const Json again = served.chat(fields);
  EXPECT_EQ(again["choices"][0]["message"]["content"], text);
  EXPECT_GT(again["usage"]["prompt_tokens_details"]["cached_tokens"].get<int>(), 0);

  // Constraints hold even for a model that knows nothing of them.
  const Json object = served.chat(R"(,"max_tokens":60,"seed":1,"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":
    {"type":"object","properties":{"tail":{"enum":["red","white"]},"legs":{"type":"integer","minimum":1,"maximum":4}},
     "required":["tail","legs"],"additionalProperties":false}}})");
  const Json parsed = Json::parse(object["choices"][0]["message"]["content"].get<std::string>(), nullptr, false);
  ASSERT_TRUE(parsed.is_object()) << object.dump();
  EXPECT_TRUE(parsed["tail"] == "red" || parsed["tail"] == "white");
  const Json call = served.chat(R"(,"max_tokens":80,"seed":1,"tool_choice":"required","parallel_tool_calls":false,"tools":[{"type":"function","function":
    {"name":"look","parameters":{"type":"object","properties":{"where":{"enum":["den","lake"]}},"required":["where"],"additionalProperties":false}}}])");
  ASSERT_TRUE(call["choices"][0]["message"].contains("tool_calls")) << call.dump();
  EXPECT_EQ(call["choices"][0]["finish_reason"], "tool_calls");
  const Json arguments = Json::parse(call["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].get<std::string>());
  EXPECT_TRUE(arguments["where"] == "den" || arguments["where"] == "lake");

  const Json n = served.chat(R"(,"max_tokens":8,"n":3,"seed":2,"temperature":1,"logprobs":true,"top_logprobs":3)");
  ASSERT_EQ(n["choices"].size(), 3u);
  for (const Json& choice : n["choices"]) {
    ASSERT_EQ(choice["logprobs"]["content"].size(), 8u);
    for (const Json& token : choice["logprobs"]["content"]) EXPECT_LE(token["logprob"].get<double>(), 0);
  }

  const Json vectors = Json::parse(served.post("/v1/embeddings", R"({"input":["a fox","a fox","the sea"]})").body);
  ASSERT_EQ(vectors["data"].size(), 3u) << vectors.dump();
  EXPECT_EQ(vectors["data"][0]["embedding"], vectors["data"][1]["embedding"]);
  EXPECT_NE(vectors["data"][0]["embedding"], vectors["data"][2]["embedding"]);

  EXPECT_EQ(Client(served.address).request("GET", "/health").status, 200);
  EXPECT_EQ(served.end(SIGTERM), 0);
}

TEST(Serve, RefusesToBeExposed) {
  const auto run = [](const std::string& arguments) {
    std::string text;
    FILE* pipe = popen((SLUICE_BINARY " serve " + arguments + " 2>&1").c_str(), "r");
    for (int c = fgetc(pipe); c != EOF; c = fgetc(pipe)) text += static_cast<char>(c);
    const int status = pclose(pipe);
    return std::pair(WEXITSTATUS(status), text);
  };
  const auto [status, text] = run("--host 0.0.0.0 --port 0");
  EXPECT_EQ(status, 1);
  EXPECT_NE(text.find("--insecure"), std::string::npos) << text;
  EXPECT_EQ(run("--host 192.0.2.7").first, 1);
  EXPECT_EQ(run("--tls-cert x").first, 1);
  EXPECT_EQ(run("--port 70000").first, 2);
  const auto [help_status, help] = run("--help");
  EXPECT_EQ(help_status, 0);
  for (const char* word : {"curl", "--host", "--memory", "--tls-cert"}) EXPECT_NE(help.find(word), std::string::npos) << word;
}

}  // namespace
}  // namespace sluice::cli
