// Files and batches over a fake engine: shapes, limits, lines that are wrong, cancelling, expiry, restarts, a disk that is full.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <filesystem>
#include <map>

#include "server/kept_limits.h"
#include "server/kept_testing.h"
#include "server/multipart.h"

namespace sluice::server {
namespace {

using namespace testing;

std::string form(std::string_view content, std::string_view purpose = "batch", std::string_view more = "") {
  return fmt::format("--b0\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n{}\r\n{}--b0\r\nContent-Disposition: form-data; name=\"file\"; "
                     "filename=\"in.jsonl\"\r\nContent-Type: application/octet-stream\r\n\r\n{}\r\n--b0--\r\n",
                     purpose, more, content);
}
constexpr const char* kForm = "Content-Type: multipart/form-data; boundary=b0\r\n";

Json upload(const KeptServer& server, std::string_view content) {
  const Reply reply = server.post("/v1/files", form(content), kForm);
  EXPECT_EQ(reply.status, 200) << reply.body;
  return Json::parse(reply.body, nullptr, false);
}
std::string chat_line(std::string_view id, std::string_view fields = "") {
  return fmt::format(R"({{"custom_id":"{}","method":"POST","url":"/v1/chat/completions","body":{{"messages":[{{"role":"user","content":"{}"}}]{}}}}})", id, id,
                     fields) + "\n";
}
Json batch_of(const KeptServer& server, std::string_view file, std::string_view endpoint = "/v1/chat/completions", std::string_view more = "") {
  const Reply reply = server.post("/v1/batches", fmt::format(R"({{"input_file_id":"{}","endpoint":"{}","completion_window":"24h"{}}})", file, endpoint, more));
  EXPECT_EQ(reply.status, 200) << reply.body;
  return Json::parse(reply.body, nullptr, false);
}
Json wait_for(const KeptServer& server, const std::string& id, std::string_view status) {
  Json batch;
  for (int i = 0; i < 400; ++i) {
    batch = Json::parse(server.get("/v1/batches/" + id).body, nullptr, false);
    if (batch["status"] == status) return batch;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ADD_FAILURE() << "not " << status << ": " << batch.dump();
  return batch;
}
// custom_id to the line; fails when one occurs twice.
std::map<std::string, Json> lines_of(const KeptServer& server, const Json& file) {
  std::map<std::string, Json> out;
  if (!file.is_string()) return out;
  std::string text = server.get("/v1/files/" + file.get<std::string>() + "/content").body;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    const Json line = Json::parse(text.substr(at, end - at), nullptr, false);
    EXPECT_TRUE(line.is_object()) << text;
    const std::string id = line["custom_id"].is_string() ? line["custom_id"].get<std::string>() : fmt::format("line {}", line["error"]["line"].get<int>());
    EXPECT_TRUE(out.emplace(id, line).second) << id;
    at = end + 1;
  }
  return out;
}
std::filesystem::path scratch() {
  char folder[] = "/tmp/sluice-kept-XXXXXX";
  return mkdtemp(folder);
}

TEST(Files, UploadListGetContentDelete) {
  const KeptServer server;
  const std::string content = chat_line("a") + chat_line("b");
  const Json file = upload(server, content);
  const std::string id = file["id"];
  EXPECT_TRUE(id.starts_with("file-"));
  EXPECT_EQ(file["object"], "file");
  EXPECT_EQ(file["bytes"], content.size());
  EXPECT_EQ(file["filename"], "in.jsonl");
  EXPECT_EQ(file["purpose"], "batch");
  const Json second = upload(server, content);
  Json list = Json::parse(server.get("/openai/v1/files?limit=1").body);
  EXPECT_EQ(list["data"][0]["id"], second["id"]);  // the newest first
  EXPECT_EQ(list["has_more"], true);
  list = Json::parse(server.get("/v1/files?purpose=batch&after=" + second["id"].get<std::string>()).body);
  EXPECT_EQ(list["data"][0]["id"], id);
  EXPECT_EQ(list["has_more"], false);
  EXPECT_EQ(Json::parse(server.get("/v1/files/" + id).body), file);
  EXPECT_EQ(server.get("/v1/files/" + id + "/content").body, content);
  EXPECT_EQ(Json::parse(Client(server.address()).request("DELETE", "/v1/files/" + id).body)["deleted"], true);
  EXPECT_EQ(server.get("/v1/files/" + id).status, 404);
  EXPECT_EQ(server.get("/v1/files/" + id + "/content").status, 404);
}

TEST(Files, ALargeFileComesBackWhole) {
  const KeptServer server;
  std::string content;
  while (content.size() < 3'000'000) content += fmt::format("{}\n", content.size());
  const std::string id = upload(server, content)["id"];
  EXPECT_TRUE(server.get("/v1/files/" + id + "/content").body == content);
}

TEST(Files, WhatIsNoUploadIsRefused) {
  const KeptServer server;
  const auto status = [&](std::string_view body, std::string_view headers) { return server.post("/v1/files", body, headers).status; };
  EXPECT_EQ(status("{}", ""), 415);
  EXPECT_EQ(status(form("x", "assistants"), kForm), 400);
  EXPECT_EQ(status(form("", "batch"), kForm), 400);
  EXPECT_EQ(status(form("x").substr(0, 60), kForm), 400);
  EXPECT_EQ(status(form("x"), "Content-Type: multipart/form-data; boundary=other\r\n"), 400);
  const Reply unknown = server.post("/v1/files", form("x", "batch", "--b0\r\nContent-Disposition: form-data; name=\"purpos\"\r\n\r\nx\r\n"), kForm);
  EXPECT_EQ(unknown.status, 400);
  EXPECT_NE(unknown.body.find("did you mean purpose"), std::string::npos) << unknown.body;
  EXPECT_EQ(server.get("/v1/files?limt=3").status, 400);
  EXPECT_EQ(server.get("/v1/files?limit=0").status, 400);
  EXPECT_EQ(server.get("/v1/files?after=file-x").status, 404);
}

TEST(Files, Forms) {
  std::vector<FormPart> parts;
  const std::string body = "preamble\r\n--x\r\n"
                           "Content-Disposition: form-data; name=\"a\"; filename=\"q\\\"\xC3\xA9.txt\"\r\n\r\n--x inside\r\n--xx\r\n\r\n--x\r\n"
                           "content-disposition: form-data; name=b; filename*=UTF-8''%e2%82%ac\r\n\r\n\r\n--x--\r\n";
  // "--xx" is no boundary's line.
  EXPECT_TRUE(parse_form("multipart/form-data; boundary=\"x\"", body, parts));
  parts.clear();
  const std::string good = "--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"q\\\"\xC3\xA9.txt\"\r\n\r\n--x inside\r\n--x\r\n"
                           "content-disposition: form-data; name=b; filename*=UTF-8''%e2%82%ac\r\n\r\n\r\n--x--\r\n";
  EXPECT_FALSE(parse_form("Multipart/Form-Data; boundary=\"x\"", good, parts));
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].content, "--x inside");
  EXPECT_EQ(parts[0].file_name, "q\"\xC3\xA9.txt");
  EXPECT_EQ(parts[1].name, "b");
  EXPECT_EQ(parts[1].file_name, "\xE2\x82\xAC");
  EXPECT_TRUE(parts[1].content.empty());
}

TEST(Batches, EveryLineIsAnsweredAndBadOnesGoToTheErrorFile) {
  KeptServer server;
  server.backend.answer = [](const engine::Request&, uint32_t) { return "Yes."; };
  std::string content = chat_line("a") + "not json\n\n" + chat_line("b", R"(,"max_token":3)") + chat_line("c", R"(,"stream":true)");
  content += R"({"custom_id":"d","method":"POST","url":"/v1/embeddings","body":{}})" "\n";
  for (int i = 0; i < 40; ++i) content += chat_line(fmt::format("n{}", i));
  const Json made = batch_of(server, upload(server, content)["id"].get<std::string>(), "/v1/chat/completions", R"(,"metadata":{"who":"me"})");
  EXPECT_EQ(made["status"], "validating");
  EXPECT_EQ(made["metadata"]["who"], "me");
  const Json done = wait_for(server, made["id"], "completed");
  EXPECT_EQ(done["request_counts"], Json::parse(R"({"total":45,"completed":41,"failed":4})"));
  EXPECT_TRUE(done["completed_at"].is_number() && done["in_progress_at"].is_number() && done["finalizing_at"].is_number());
  const auto good = lines_of(server, done["output_file_id"]), bad = lines_of(server, done["error_file_id"]);
  ASSERT_EQ(good.size(), 41u);
  EXPECT_EQ(good.at("a")["response"]["status_code"], 200);
  EXPECT_EQ(good.at("a")["response"]["body"]["choices"][0]["message"]["content"], "Yes.");
  EXPECT_TRUE(good.at("a")["error"].is_null());
  ASSERT_EQ(bad.size(), 4u);
  EXPECT_EQ(bad.at("line 2")["error"]["code"], "invalid_json");
  EXPECT_EQ(bad.at("b")["error"]["line"], 4);  // empty lines are counted
  EXPECT_EQ(bad.at("b")["response"]["status_code"], 400);
  EXPECT_NE(bad.at("b")["error"]["message"].get<std::string>().find("max_tokens"), std::string::npos);
  EXPECT_NE(bad.at("c")["error"]["message"].get<std::string>().find("stream"), std::string::npos);
  EXPECT_EQ(bad.at("d")["error"]["code"], "mismatched_endpoint");
  EXPECT_TRUE(server.gate.last_price.batch);
  EXPECT_EQ(server.backend.last().tier, engine::Tier::kOnDemand);  // the gate of these tests grants what is asked for
  const Json list = Json::parse(server.get("/openai/v1/batches?limit=5").body);
  EXPECT_EQ(list["data"][0]["id"], made["id"]);
  EXPECT_EQ(server.get("/v1/batches/batch_none").status, 404);
  const Json output = Json::parse(server.get("/v1/files/" + done["output_file_id"].get<std::string>()).body);
  EXPECT_EQ(output["purpose"], "batch_output");
}

TEST(Batches, OtherEndpoints) {
  KeptServer server;
  for (const auto& [endpoint, body] : {std::pair{"/v1/completions", R"({"prompt":"x","max_tokens":4})"}, {"/v1/embeddings", R"({"input":["x","y"]})"}}) {
    const std::string line = fmt::format(R"({{"custom_id":"a","method":"POST","url":"{}","body":{}}})", endpoint, body);
    const Json done = wait_for(server, batch_of(server, upload(server, line)["id"].get<std::string>(), endpoint)["id"], "completed");
    EXPECT_EQ(lines_of(server, done["output_file_id"]).at("a")["response"]["status_code"], 200) << endpoint;
  }
}

TEST(Batches, WhatCannotBeABatchIsRefusedOrFails) {
  const KeptServer server;
  const std::string file = upload(server, chat_line("a"))["id"];
  const auto refused = [&](std::string_view fields) { return server.post("/v1/batches", fields).status; };
  EXPECT_EQ(refused(fmt::format(R"({{"input_file_id":"{}","endpoint":"/v1/models","completion_window":"24h"}})", file)), 400);
  EXPECT_EQ(refused(fmt::format(R"({{"input_file_id":"{}","endpoint":"/v1/completions","completion_window":"8d"}})", file)), 400);
  EXPECT_EQ(refused(R"({"input_file_id":"file-none","endpoint":"/v1/completions","completion_window":"24h"})"), 404);
  EXPECT_EQ(refused(fmt::format(R"({{"input_file":"{}","endpoint":"/v1/completions","completion_window":"24h"}})", file)), 400);
  const Json twice = batch_of(server, upload(server, chat_line("same") + chat_line("same"))["id"].get<std::string>());
  EXPECT_EQ(wait_for(server, twice["id"], "failed")["errors"]["data"][0]["code"], "duplicate_custom_id");
  std::string many;
  for (uint32_t i = 0; i <= limits::kBatchLinesMax; ++i) many += "{}\n";
  const Json much = batch_of(server, upload(server, many)["id"].get<std::string>());
  EXPECT_EQ(wait_for(server, much["id"], "failed")["errors"]["data"][0]["code"], "too_many_lines");
}

TEST(Batches, CancelKeepsWhatIsDone) {
  KeptServer server;
  server.backend.token_us = 3000;
  std::string content;
  for (int i = 0; i < 50; ++i) content += chat_line(fmt::format("n{}", i));
  const std::string file = upload(server, content)["id"];
  const Json made = batch_of(server, file);
  for (int i = 0; i < 200 && server.backend.tokens < 60; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(Client(server.address()).request("DELETE", "/v1/files/" + file).status, 409);
  const Reply reply = server.post("/v1/batches/" + made["id"].get<std::string>() + "/cancel", "");
  EXPECT_EQ(reply.status, 200) << reply.body;
  const Json done = wait_for(server, made["id"], "cancelled");
  const auto good = lines_of(server, done["output_file_id"]), bad = lines_of(server, done["error_file_id"]);
  EXPECT_EQ(good.size() + bad.size(), 50u);
  EXPECT_GT(good.size(), 0u);
  EXPECT_EQ(bad.at("n49")["error"]["code"], "batch_cancelled");
  EXPECT_EQ(server.post("/v1/batches/" + made["id"].get<std::string>() + "/cancel", "").status, 200);
  EXPECT_EQ(Client(server.address()).request("DELETE", "/v1/files/" + file).status, 200);
}

TEST(Batches, TheWindowEnds) {
  const auto now = std::make_shared<std::atomic<int64_t>>(1000);
  KeptOptions setup;
  setup.now_s = [now] { return now->load(); };
  KeptServer server(std::move(setup));
  server.backend.token_us = 5000;
  std::string content;
  for (int i = 0; i < 100; ++i) content += chat_line(fmt::format("n{}", i));
  const Json made = batch_of(server, upload(server, content)["id"].get<std::string>());
  EXPECT_EQ(made["expires_at"], 1000 + 86'400);
  for (int i = 0; i < 200 && server.backend.tokens < 40; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  now->store(1000 + 86'400);
  const Json done = wait_for(server, made["id"], "expired");
  EXPECT_EQ(lines_of(server, done["error_file_id"]).at("n99")["error"]["code"], "batch_expired");
  now->store(1000 + 86'400 + 2'592'000);  // its files go after 30 days
  EXPECT_EQ(server.get("/v1/files/" + done["error_file_id"].get<std::string>()).status, 404);
}

TEST(Batches, RefusalsForWantOfRoomAreAskedAgain) {
  KeptServer server;
  server.backend.refuse_all = true;
  const Json made = batch_of(server, upload(server, chat_line("a"))["id"].get<std::string>());
  wait_for(server, made["id"], "in_progress");
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  server.backend.refuse_all = false;
  EXPECT_EQ(wait_for(server, made["id"], "completed")["request_counts"]["completed"], 1);
}

TEST(Batches, GoOnAfterARestartAndAnswerEachLineOnce) {
  const std::filesystem::path folder = scratch();
  const auto setup = [&] {
    KeptOptions out;
    out.folder = folder;
    return out;
  };
  std::string content;
  for (int i = 0; i < 60; ++i) content += chat_line(fmt::format("n{}", i));
  std::string id;
  {
    KeptServer server(setup());
    server.backend.token_us = 2000;
    id = batch_of(server, upload(server, content)["id"].get<std::string>())["id"];
    for (int i = 0; i < 400; ++i) {
      const Json batch = Json::parse(server.get("/v1/batches/" + id).body);
      if (batch["request_counts"]["completed"].get<int>() >= 5) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  KeptServer server(setup());
  const Json done = wait_for(server, id, "completed");
  EXPECT_EQ(done["request_counts"]["completed"], 60);
  EXPECT_EQ(lines_of(server, done["output_file_id"]).size(), 60u);
  EXPECT_LT(server.backend.submitted, 60u);  // what was done stayed done
  std::filesystem::remove_all(folder);
}

TEST(Batches, AFullDiskIsToldAndTheServiceGoesOn) {
  KeptOptions setup;
  setup.folder = scratch();
  setup.bytes_max = 1 << 18;
  const std::filesystem::path folder = setup.folder;
  std::vector<std::string> said;
  std::mutex mutex;
  setup.say = [&](const std::string& sentence) {
    const std::lock_guard lock(mutex);
    said.push_back(sentence);
  };
  {
    KeptServer server(std::move(setup));
    const std::string fill(80'000, 'x');
    EXPECT_EQ(server.post("/v1/files", form(fill), kForm).status, 200);
    EXPECT_EQ(server.post("/v1/files", form(fill), kForm).status, 413);  // a key's share
    server.backend.answer = [](const engine::Request&, uint32_t) { return std::string(200, 'y'); };
    std::string content;
    for (int i = 0; i < 250; ++i) content += chat_line(fmt::format("n{}", i));
    const Json made = batch_of(server, upload(server, content)["id"].get<std::string>());
    for (int i = 0; i < 400; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const std::lock_guard lock(mutex);
      if (!said.empty()) break;
    }
    {
      const std::lock_guard lock(mutex);
      ASSERT_FALSE(said.empty());
      EXPECT_NE(said[0].find("full"), std::string::npos) << said[0];
      EXPECT_EQ(said.size(), 1u);
    }
    EXPECT_EQ(server.chat(R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":3})").status, 200);
    EXPECT_EQ(Json::parse(server.get("/v1/batches/" + made["id"].get<std::string>()).body)["status"], "in_progress");
  }
  std::filesystem::remove_all(folder);
}

TEST(Batches, AKeyThatIsRevokedEndsItsBatch) {
  KeptServer server;
  server.backend.token_us = 3000;
  std::string content;
  for (int i = 0; i < 50; ++i) content += chat_line(fmt::format("n{}", i));
  const Json made = batch_of(server, upload(server, content)["id"].get<std::string>());
  for (int i = 0; i < 200 && server.backend.tokens < 30; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  server.revoked = true;
  const Json done = wait_for(server, made["id"], "cancelled");
  EXPECT_EQ(lines_of(server, done["error_file_id"]).at("n49")["error"]["code"], "key_revoked");
}

TEST(Kept, OpenApiSaysWhatIsSentAndAsked) {
  const KeptServer server;
  const Json paths = Json::parse(server.get("/openapi.json").body)["paths"];
  EXPECT_TRUE(paths["/v1/files"]["post"]["requestBody"]["content"].contains("multipart/form-data"));
  EXPECT_TRUE(paths["/v1/files/{file}/content"]["get"]["responses"]["200"]["content"].contains("application/octet-stream"));
  EXPECT_EQ(paths["/v1/files"]["get"]["parameters"].size(), 4u);
  EXPECT_EQ(paths["/v1/responses/{response}/input_items"]["get"]["parameters"].size(), 4u);
  size_t operations = 0;
  for (const auto& [path, methods] : paths.items()) operations += methods.size();
  EXPECT_EQ(operations, server.router.routes().size());
}

// Another tenant sees nothing of it, whatever the id.
TEST(Kept, NothingCrossesTenants) {
  auto opened = Kept::open({});
  ASSERT_TRUE(opened.ok());
  Kept& kept = **opened;
  KeptFile file{.id = "file-1", .tenant = 1, .purpose = "batch", .name = "n"};
  EXPECT_FALSE(kept.files().add(file, "text"));
  KeptFile seen;
  EXPECT_FALSE(kept.files().get(1, "file-1", seen));
  EXPECT_EQ(kept.files().get(2, "file-1", seen)->status, 404);
  EXPECT_EQ(kept.files().remove(2, "file-1")->status, 404);
  std::vector<KeptFile> files;
  bool more = false;
  EXPECT_FALSE(kept.files().list(2, "", {}, files, more));
  EXPECT_TRUE(files.empty());
  Batch batch{.id = "batch_1", .tenant = 1, .status = "validating", .body = {{"status", "validating"}}};
  EXPECT_FALSE(kept.batches().create(batch));
  Batch other;
  EXPECT_EQ(kept.batches().get(2, "batch_1", other)->status, 404);
  EXPECT_EQ(kept.batches().cancel(2, "batch_1", other)->status, 404);
}

}  // namespace
}  // namespace sluice::server
