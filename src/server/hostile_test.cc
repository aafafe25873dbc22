// The rows of the reliability table that concern requests: H1 to H8, H10, H11, A1, A2, A4. A hostile client gets a sentence, and nobody else notices.
#include <gtest/gtest.h>

#include <fmt/format.h>
#include <netinet/tcp.h>

#include <chrono>
#include <thread>

#include "server/json_fields.h"
#include "server/limits.h"
#include "server/server_testing.h"

namespace sluice::server {
namespace {

using namespace testing;

std::string chat_with(std::string_view fields) { return fmt::format(R"({{"messages":[{{"role":"user","content":"hi"}}],"max_tokens":4{}}})", fields); }

std::string code_of(const Reply& reply) {
  const Json json = Json::parse(reply.body, nullptr, false);
  return json.is_object() && json.contains("error") && json["error"]["code"].is_string() ? json["error"]["code"].get<std::string>() : "";
}

std::string param_of(const Reply& reply) {
  const Json json = Json::parse(reply.body, nullptr, false);
  return json.is_object() && json.contains("error") && json["error"]["param"].is_string() ? json["error"]["param"].get<std::string>() : "";
}

struct NumericField {
  const char* name;
  const char* low;      // the least and the most that are taken
  const char* high;
  const char* below;    // just outside
  const char* above;
  const char* more = "";  // what the field needs beside it
};

constexpr NumericField kNumericFields[] = {
    {"temperature", "0", "2", "-0.001", "2.001"},
    {"top_p", "0", "1", "-0.001", "1.001"},
    {"top_k", "-1", "16777216", "-2", "16777217"},
    {"min_p", "0", "1", "-0.001", "1.001"},
    {"typical_p", "0", "1", "-0.001", "1.001"},
    {"presence_penalty", "-2", "2", "-2.001", "2.001"},
    {"frequency_penalty", "-2", "2", "-2.001", "2.001"},
    {"repetition_penalty", "0.01", "100", "0.009", "100.1"},
    {"dry_multiplier", "0", "100", "-1", "101"},
    {"dry_base", "1", "10", "0.9", "10.1"},
    {"dry_allowed_length", "1", "1048576", "0", "1048577"},
    {"dry_penalty_last_n", "-1", "16777216", "-2", "16777217"},
    {"n", "1", "8", "0", "9"},
    {"max_tokens", "1", "16777216", "0", "16777217"},
    {"max_completion_tokens", "1", "16777216", "0", "16777217"},
    {"min_tokens", "0", "4", "-1", "4097"},
    {"seed", "-9223372036854775808", "9223372036854775807", "-9223372036854775809", "9223372036854775808"},
    {"top_logprobs", "0", "20", "-1", "21", R"(,"logprobs":true)"},
    {"queue_timeout_ms", "1", "86400000", "0", "86400001"},
    {"first_token_timeout_ms", "1", "86400000", "0", "86400001"},
    {"timeout_ms", "1", "86400000", "0", "86400001"},
};

TEST(Reliability, H1EveryNumericFieldAtItsEdges) {
  const TestServer server;
  Client client(server.address());
  for (const NumericField& field : kNumericFields) {
    const auto send = [&](std::string_view value) {
      const std::string name = field.name;
      // max_tokens stands in the frame already.
      const std::string body = name == "max_tokens" ? fmt::format(R"({{"messages":[{{"role":"user","content":"hi"}}],"max_tokens":{}}})", value)
                                                    : chat_with(fmt::format(R"(,"{}":{}{})", name, value, field.more));
      return client.request("POST", "/v1/chat/completions", body);
    };
    for (const char* good : {field.low, field.high}) EXPECT_EQ(send(good).status, 200) << field.name << " = " << good;
    for (const char* bad : {field.below, field.above, "1e308", "-1e308", "18446744073709551615", "\"7\"", "true", "[]", "{}"}) {
      const Reply reply = send(bad);
      EXPECT_EQ(reply.status, 400) << field.name << " = " << bad << ": " << reply.body;
      EXPECT_EQ(param_of(reply), field.name) << bad;
    }
    for (const char* no_number : {"NaN", "Infinity", "-", "1e999", "0x10", "1.", "01"}) {
      const Reply reply = send(no_number);
      EXPECT_EQ(reply.status, 400) << field.name << " = " << no_number;
    }
    EXPECT_EQ(send("null").status, 200) << field.name;
  }
}

TEST(Reliability, H2PricedBeforeAdmission) {
  TestServer server;
  EXPECT_EQ(server.chat(chat_with(R"(,"n":1000000)")).status, 400);
  EXPECT_EQ(server.backend.submitted.load(), 0u);
  EXPECT_EQ(server.chat(R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":10,"n":3})").status, 200);
  {
    const std::lock_guard lock(server.gate.mutex);
    EXPECT_EQ(server.gate.last_price.completion_tokens_max, 30u);
    EXPECT_GT(server.gate.last_price.prompt_tokens, 2u);
    EXPECT_GT(server.gate.last_price.bytes, 60u);
  }
  server.gate.full = true;
  const Reply refused = server.chat(chat_with(""));
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.header("retry-after"), "17");
  EXPECT_EQ(server.backend.submitted.load(), 1u);
  server.gate.full = false;
  server.backend.refuse_all = true;
  for (const auto& [tier, status] : {std::pair{"on_demand", 503}, {"flex", 498}}) {
    const Reply full = server.chat(chat_with(fmt::format(R"(,"service_tier":"{}")", tier)));
    EXPECT_EQ(full.status, status);
    EXPECT_GE(std::stoi(full.header("retry-after")), 1);
    EXPECT_EQ(code_of(full), "capacity_exceeded");
  }
  EXPECT_EQ(server.gate.admissions.load(), server.gate.finishes.load());
}

TEST(Reliability, H3StopStrings) {
  const TestServer server;
  const auto stops = [](size_t count, size_t bytes) {
    std::string out = R"(,"stop":[)";
    for (size_t i = 0; i < count; ++i) out += fmt::format("{}\"{}\"", i > 0 ? "," : "", std::string(bytes, 'x'));
    return chat_with(out + "]");
  };
  EXPECT_EQ(server.chat(stops(4, 256)).status, 200);
  EXPECT_EQ(server.chat(stops(5, 1)).status, 400);
  EXPECT_EQ(server.chat(stops(1, 257)).status, 400);
  EXPECT_EQ(server.chat(stops(1, 0)).status, 400);
  EXPECT_EQ(server.chat(stops(500'000, 1)).status, 400);
  EXPECT_EQ(server.chat(chat_with(R"(,"stop_token_ids":[0,257])")).status, 200);
  EXPECT_EQ(server.chat(chat_with(R"(,"stop_token_ids":[260])")).status, 400);
  EXPECT_EQ(server.chat(chat_with(R"(,"bad_words":["x"])")).status, 400);
}

TEST(Reliability, H4TopLogprobs) {
  TestServer server;
  for (const char* bad : {"21", "2000000000", "-1"}) {
    EXPECT_EQ(server.chat(chat_with(fmt::format(R"(,"logprobs":true,"top_logprobs":{})", bad))).status, 400) << bad;
    EXPECT_EQ(server.post("/v1/completions", fmt::format(R"({{"prompt":"hi","logprobs":{}}})", bad)).status, 400) << bad;
  }
  EXPECT_EQ(server.chat(chat_with(R"(,"top_logprobs":5)")).status, 400);  // without logprobs
  EXPECT_EQ(server.chat(chat_with(R"(,"prompt_logprobs":-1)")).status, 400);
  EXPECT_EQ(server.backend.submitted.load(), 0u);
}

TEST(Reliability, H5DeepWideAndLongJson) {
  const TestServer server;
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(code_of(server.chat(chat_with(fmt::format(R"(,"tools":{})", nested(3000))))), "too_deep");
  EXPECT_EQ(code_of(server.chat(nested(1'000'000))), "too_deep");
  Json out;
  EXPECT_FALSE(parse_request_json(nested(64), out));
  EXPECT_TRUE(parse_request_json(nested(65), out));
  const auto keys = [](size_t count) {
    std::string text = "{";
    for (size_t i = 0; i < count; ++i) text += fmt::format("{}\"{}\":0", i > 0 ? "," : "", i);
    return text + "}";
  };
  EXPECT_FALSE(parse_request_json(keys(10'000), out));
  EXPECT_TRUE(parse_request_json(keys(10'001), out));
  EXPECT_FALSE(parse_request_json(std::string(64, '1'), out));
  EXPECT_TRUE(parse_request_json(std::string(65, '1'), out));
  EXPECT_TRUE(parse_request_json(R"({"a":1,"a":2})", out));
  EXPECT_EQ(server.chat(R"({"messages":[],"messages":[]})").status, 400);
}

TEST(Reliability, H6MalformedUtf8IsRefusedWithItsPlace) {
  const TestServer server;
  const std::string before = R"({"messages":[{"role":"user","content":")";
  // A lone continuation, a cut character, overlong, a surrogate, above U+10FFFF, bytes that never occur.
  for (const char* bad : {"\x80", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF", "\xFE"}) {
    const Reply reply = server.chat(before + bad + R"("}]})");
    EXPECT_EQ(reply.status, 400);
    EXPECT_EQ(code_of(reply), "invalid_utf8");
    EXPECT_NE(reply.body.find(fmt::format("at byte {}", before.size())), std::string::npos) << reply.body;
  }
  // Half a surrogate pair as an escape is no text either.
  EXPECT_EQ(server.chat(before + R"(\ud800"}]})").status, 400);
  EXPECT_EQ(server.chat(before + R"(\ud83d\ude00 ok"}]})").status, 200);
}

TEST(Reliability, H6AnswersAreAlwaysValidUtf8) {
  TestServer server;
  // The fake engine cuts characters as no engine should; JSON must hold all the same.
  server.backend.answer = [](const engine::Request&, uint32_t) { return std::string("a\nb\"c\\d\x01"); };
  const Reply reply = server.chat(chat_with(R"(,"max_completion_tokens":100)"));
  const Json json = Json::parse(reply.body);
  EXPECT_EQ(json["choices"][0]["message"]["content"], "a\nb\"c\\d\x01");
}

TEST(Reliability, H7HttpConformanceAndSmuggling) {
  const TestServer server;
  const std::string good_body = chat_with("");
  const auto status = [&](const std::string& bytes) {
    Client client(server.address());
    client.send(bytes);
    const Reply reply = client.read_reply();
    if (reply.status >= 400) {
      EXPECT_TRUE(client.ended()) << bytes.substr(0, 60);  // nothing behind a broken request is read
    }
    return reply.status;
  };
  const std::string post = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n";
  const std::string length = fmt::format("Content-Length: {}\r\n", good_body.size());
  EXPECT_EQ(status(post + length + length + "\r\n" + good_body), 400);
  EXPECT_EQ(status(post + length + "Content-Length: 5\r\n\r\n" + good_body), 400);
  EXPECT_EQ(status(post + "Content-Length: 5, 6\r\n\r\nhello"), 400);
  EXPECT_EQ(status(post + "Content-Length: -1\r\n\r\n"), 400);
  EXPECT_EQ(status(post + "Content-Length: +5\r\n\r\nhello"), 400);
  EXPECT_EQ(status(post + "Content-Length: 99999999999999999999999\r\n\r\n"), 400);
  EXPECT_EQ(status(post + length + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status(post + "Transfer-Encoding: chunked\r\n" + length + "\r\n0\r\n\r\n"), 400);
  EXPECT_GE(status(post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_GE(status(post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_GE(status(post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_GE(status("POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
  for (const char* size : {"-2", "0x5", "fffffffffffffffff", "g", " 5"}) {
    EXPECT_GE(status(post + "Transfer-Encoding: chunked\r\n\r\n" + size + "\r\nhello\r\n0\r\n\r\n"), 400) << size;
  }
  EXPECT_EQ(status(post + "Content-Encoding: gzip\r\n" + length + "\r\n" + good_body), 415);
  EXPECT_EQ(status(post + "Expect: something\r\n" + length + "\r\n" + good_body), 417);
  EXPECT_EQ(status("GET /health HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /health HTTP/1.1\r\nHost: localhost\r\nX : a\r\n\r\n"), 400);
  EXPECT_GE(status("GET /health HTTP/1.1\nHost: localhost\n\n"), 400);
  EXPECT_GE(status("GET /health HTTP/2.0\r\nHost: localhost\r\n\r\n"), 400);
  EXPECT_EQ(status("GET health HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /%4 HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(9000, 'x') + "\r\n\r\n"), 431);
  EXPECT_EQ(status("GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(100'000, 'x')), 431);
  EXPECT_EQ(status("GET /" + std::string(5000, 'x') + " HTTP/1.1\r\nHost: localhost\r\n\r\n"), 414);
  std::string many;
  for (int i = 0; i < 101; ++i) many += fmt::format("X-{}: y\r\n", i);
  EXPECT_EQ(status("GET /health HTTP/1.1\r\nHost: localhost\r\n" + many + "\r\n"), 431);
  // And what is allowed works: chunks, trailers, the absolute form, empty lines before, pipelining.
  const std::string chunked = fmt::format("{:x};note=1\r\n{}\r\n{:x}\r\n{}\r\n0\r\nX-Trailer: a\r\n\r\n", 10, good_body.substr(0, 10),
      good_body.size() - 10, good_body.substr(10));
  EXPECT_EQ(status(post + "Transfer-Encoding: chunked\r\n\r\n" + chunked), 200);
  {
    Client drop(server.address());  // the same, a byte at a time
    const int now = 1;
    ::setsockopt(drop.fd(), IPPROTO_TCP, TCP_NODELAY, &now, sizeof(now));
    for (const char& c : post + "Transfer-Encoding: chunked\r\n\r\n" + chunked) drop.send(std::string_view(&c, 1));
    EXPECT_EQ(drop.read_reply().status, 200);
    drop.send("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    drop.send("\r");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    drop.send("\n");
    EXPECT_EQ(drop.read_reply().status, 400);  // no body, not the end of the process
  }
  EXPECT_EQ(status("\r\nGET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200);
  Client client(server.address());
  client.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(client.read_reply().status, 200);
  EXPECT_NE(client.read_reply().body.find("test-model"), std::string::npos);
}

TEST(Reliability, H8LimitsHoldWhileReading) {
  const TestServer server;
  Client big(server.address());
  big.send(fmt::format("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", limits::kBodyBytesMax + 1));
  EXPECT_EQ(big.read_reply().status, 413);  // without a byte of the body
  Client endless(server.address());
  endless.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = fmt::format("{:x}\r\n{}\r\n", 1 << 20, std::string(1 << 20, ' '));
  for (int sent = 0; sent < 20 && endless.send(chunk); ++sent) {
  }
  EXPECT_EQ(endless.read_reply().status, 413);  // its end never comes
  Client none(server.address());
  EXPECT_EQ(none.request("GET", "/v1/models", "{}").status, 413);  // this route has no body
}

TEST(Reliability, H10OneBadRequestNeverAffectsAnother) {
  TestServer server;
  const auto clean = [](const Reply& reply) {
    Json json = Json::parse(reply.body);
    return json["choices"].dump();
  };
  const std::string body = chat_with(R"(,"seed":7)");
  const std::string expected = clean(server.chat(body));
  const std::string bad[] = {
      chat_with(R"(,"logit_bias":{"-5":1})"), R"({"messages":"x"})", R"({"prompt":[-1,99999999]})", R"({"input":[[1],[-7]]})", "{", "", "[1,2", "null",
      R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x/y.png"}}]}]})",
      R"({"messages":[{"role":"tool","content":"x"}],"tools":[{"type":"function","function":{"name":"a b","parameters":{"type":"banana"}}}]})",
      chat_with(R"(,"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object","properties":{"a":{"$ref":"#/nowhere"}}}}})"),
      chat_with(R"(,"guided_regex":"((((((((((a{1000}){1000}){1000}")"),
  };
  for (const std::string& request : bad) {
    for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize", "/detokenize", "/apply-template"}) {
      const int status = server.post(path, request).status;
      const bool only_renders = std::string_view(path) == "/apply-template" || std::string_view(path) == "/tokenize";
      EXPECT_TRUE(status == 400 || (status == 200 && only_renders)) << path << " " << request << " " << status;
    }
    EXPECT_EQ(clean(server.chat(body)), expected);
  }
  EXPECT_EQ(server.gate.admissions.load(), server.gate.finishes.load());
}

// Bytes that a simple generator makes out of good requests by cutting, doubling and changing them.
TEST(Reliability, H11NothingStopsTheServer) {
  TestServer server;
  const std::string seeds[] = {
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70\r\n\r\n" + chat_with(""),
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"prompt\":\"hello\"\r\n1\r\n}\r\n0\r\n\r\n",
      "GET /v1/models/a%20b HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
  };
  uint64_t state = 42;
  const auto random = [&](size_t below) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<size_t>((state >> 33) % below);
  };
  for (int round = 0; round < 300; ++round) {
    std::string bytes = seeds[random(3)];
    for (size_t edits = random(4) + 1; edits > 0; --edits) {
      const size_t at = random(bytes.size());
      switch (random(4)) {
        case 0: bytes[at] = static_cast<char>(random(256)); break;
        case 1: bytes.erase(at, random(20) + 1); break;
        case 2: bytes.insert(at, bytes.substr(random(bytes.size()), random(40))); break;
        default: bytes.insert(at, 1, "\r\n:{}[]\",0-"[random(11)]);
      }
      if (bytes.empty()) bytes = "x";
    }
    Client client(server.address());
    client.send(bytes);
    ::shutdown(client.fd(), SHUT_WR);
    client.read_reply();
  }
  EXPECT_EQ(server.get("/health").status, 200);
}

TEST(Reliability, A1PathsAndHostsDoNotChangeWhoIsAsked) {
  TestServer server;
  server.gate.has_keys = true;
  for (const char* target : {"/v1/models", "//v1/models", "/v1/../v1/models", "/v1/models/", "/./v1/models", "/%76%31/models", "/v1/models?x=/health",
                             "/health/../v1/models", "/health%2f..%2fv1/models", "http://localhost/v1/models", "http://localhost/health/../v1/models",
                             "/v1/models#/health", "/nothing"}) {
    for (const char* host : {"localhost", "127.0.0.1/health", "localhost/health?"}) {
      Client client(server.address());
      client.send(fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\nX-Original-URL: /health\r\n\r\n", target, host));
      const int status = client.read_reply().status;
      EXPECT_TRUE(status == 401 || status == 403 || status == 400) << target << " " << host << " " << status;
    }
  }
  EXPECT_EQ(server.get("/v1/models", "Authorization: Bearer sk-good\r\n").status, 200);
}

TEST(Reliability, A2EveryRouteNeedsAKeyButTheProbes) {
  TestServer server;
  const auto filled = [](std::string_view pattern) {
    std::string path;
    for (size_t i = 0; i < pattern.size(); ++i) {
      if (pattern[i] != '{') {
        path += pattern[i];
        continue;
      }
      path += "x";
      i = pattern.find('}', i);
    }
    return path;
  };
  server.gate.has_keys = true;
  size_t asked = 0;
  for (const Route& route : server.router.routes()) {
    if (route.pattern == "/health" || route.pattern == "/ready") continue;
    const std::string body = route.method == "POST" ? "{}" : "";
    for (const char* headers : {"", "Authorization: Bearer wrong\r\n", "Authorization: sk-good\r\n", "X-Api-Key: \r\n", "Cookie: key=sk-good\r\n"}) {
      const Reply reply = Client(server.address()).request(route.method, filled(route.pattern), body, headers);
      EXPECT_EQ(reply.status, 401) << route.method << " " << route.pattern << " " << headers;
      EXPECT_EQ(reply.header("www-authenticate"), "Bearer");
    }
    for (const char* headers : {"Authorization: Bearer sk-good\r\n", "authorization: bearer  sk-good\r\n", "X-API-Key: sk-good\r\n", "api-key: sk-good\r\n"}) {
      const Reply reply = Client(server.address()).request(route.method, filled(route.pattern), body, headers);
      EXPECT_NE(reply.status, 401) << route.method << " " << route.pattern << " " << headers;
      EXPECT_EQ(reply.header("x-ratelimit-remaining-requests"), "41");
    }
    ++asked;
  }
  EXPECT_GE(asked, 14u);
  EXPECT_EQ(server.get("/health").body, R"({"status":"ok"})");
  EXPECT_EQ(server.get("/ready").body, R"({"status":"ready"})");
}

TEST(Reliability, A4DnsRebindingAndForeignPages) {
  TestServer server;
  const auto status = [&](std::string_view host, std::string_view origin) {
    Client client(server.address());
    client.send(fmt::format("GET /v1/models HTTP/1.1\r\nHost: {}\r\n{}\r\n", host, origin.empty() ? "" : fmt::format("Origin: {}\r\n", origin)));
    return client.read_reply().status;
  };
  for (const char* host : {"localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:99", "LOCALHOST", "[::1]", "[::1]:1", "127.8.9.1"}) {
    EXPECT_EQ(status(host, ""), 200) << host;
  }
  for (const char* host : {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8080", "1.2.3.4", "", "127.evil", "[::2]"}) {
    EXPECT_EQ(status(host, ""), 403) << host;
  }
  // A probe asks by whatever address it knows; it learns whether the process is there.
  for (const char* probe : {"/health", "/ready"}) {
    Client client(server.address());
    client.send(fmt::format("GET {} HTTP/1.1\r\nHost: 10.1.2.3:8080\r\n\r\n", probe));
    EXPECT_EQ(client.read_reply().status, 200) << probe;
    EXPECT_EQ(server.get(probe, "Origin: http://evil.example\r\n").status, 403) << probe;
  }
  EXPECT_EQ(status("localhost:1", "http://localhost:1"), 200);
  for (const char* origin : {"http://evil.example", "https://localhost.evil.example", "null", "http://localhost:2", "file://"}) {
    EXPECT_EQ(status("localhost:1", origin), 403) << origin;
  }
  // Off unless allowed, and then only for that page, without credentials.
  TestServer::Setup setup;
  setup.http.origins_allowed = {"https://chat.example"};
  setup.http.hosts_allowed = {"llm.example"};
  const TestServer open(std::move(setup));
  const Reply page = open.get("/v1/models", "Origin: https://chat.example\r\n");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.header("access-control-allow-origin"), "https://chat.example");
  EXPECT_EQ(page.header("access-control-allow-credentials"), "");
  EXPECT_EQ(open.get("/v1/models", "Origin: https://other.example\r\n").status, 403);
  const Reply preflight = Client(open.address()).request("OPTIONS", "/v1/chat/completions", {},
                                                         "Origin: https://chat.example\r\nAccess-Control-Request-Method: POST\r\n");
  EXPECT_EQ(preflight.status, 204);
  EXPECT_NE(preflight.header("access-control-allow-headers").find("authorization"), std::string::npos);
  EXPECT_EQ(server.get("/v1/models").header("access-control-allow-origin"), "");
}

}  // namespace
}  // namespace sluice::server
