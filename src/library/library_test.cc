// The public header on the model inside: what a program sees of it. How it is installed and found is tested by tests/library/installed.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sluice/sluice.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "program/package.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBeginning = "Once upon a time there was a fox who found a lantern in the snow. The fox was not afraid of the light, and";

Model open(OpenOptions options = {}) {
  options.context = 512;
  options.threads = 1;
  Expected<Model> model = Model::open(options);
  EXPECT_TRUE(model.ok()) << model.error();
  return std::move(*model);
}

Conversation begun(const Model& model, std::string_view text = kBeginning) {
  Conversation out = model.conversation();
  EXPECT_TRUE(out.append(text).ok());
  return out;
}

GenerateOptions drawn(uint64_t seed, uint64_t tokens = 20) {
  GenerateOptions options{.max_tokens = tokens, .ignore_end = true};
  options.sampling.seed = seed;
  return options;
}

std::string said(Conversation& conversation, const GenerateOptions& options) {
  const Expected<Answer> answer = conversation.generate(options);
  EXPECT_TRUE(answer.ok()) << answer.error();
  return answer.ok() ? answer->text : "";
}

class Library : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/sluice-library-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string file(const char* name) const { return (folder_ / name).string(); }

  fs::path folder_;
};

TEST_F(Library, WhatCannotBeOpenedIsASentence) {
  const auto why = [](const OpenOptions& options) { return Model::open(options).error(); };
  EXPECT_NE(why({.path = "/nowhere/model.gguf"}).find("/nowhere/model.gguf"), std::string::npos);
  EXPECT_NE(why({.memory = "1M"}).find("the smallest cap for this model is"), std::string::npos);
  EXPECT_NE(why({.memory = "much"}).find("much"), std::string::npos);
  EXPECT_NE(why({.context = uint64_t{1} << 60}).find("the limit is"), std::string::npos);
  EXPECT_NE(why({.running = 0}).find("running 0: must be 1 to"), std::string::npos);
  EXPECT_NE(why({.isa = "avx9"}).find("one of baseline, avx2, avx512"), std::string::npos);
  EXPECT_NE(why({.kv = "f64"}).find("one of f32, f16, q8, q4"), std::string::npos);
}

TEST_F(Library, MistakesAreErrorsAndTheConversationStays) {
  const Model model = open();
  Conversation empty = model.conversation();
  EXPECT_NE(empty.generate({}).error().find("empty"), std::string::npos);
  EXPECT_FALSE(empty.append_tokens(std::vector<int32_t>{-1}).ok());
  EXPECT_FALSE(empty.append_tokens(std::vector<int32_t>{1 << 30}).ok());
  Conversation text = begun(model);
  const size_t size = text.size();
  EXPECT_FALSE(text.append_message("user", "Hi").ok());
  EXPECT_FALSE(text.generate({.max_tokens = 0}).ok());
  EXPECT_FALSE(text.generate({.constraint = {.regex = "(unclosed"}}).ok());
  EXPECT_FALSE(text.generate({.constraint = {.regex = "a", .choices = {"b"}}}).ok());
  GenerateOptions hot;
  hot.sampling.temperature = -1;
  EXPECT_NE(text.generate(hot).error().find("temperature"), std::string::npos);
  EXPECT_FALSE(text.truncate(size + 1).ok());
  Conversation longer = text.fork();
  while (longer.size() < model.context()) EXPECT_TRUE(longer.append(kBeginning).ok());
  EXPECT_NE(longer.generate({}).error().find("context"), std::string::npos);
  EXPECT_EQ(text.size(), size);
  EXPECT_FALSE(said(text, drawn(1)).empty());
}

TEST_F(Library, ForksPartAndShareWhatWasRead) {
  const Model model = open();
  Conversation trunk = begun(model);
  ASSERT_TRUE(trunk.read().ok());
  EXPECT_EQ(trunk.known_tokens() + 1, trunk.size());
  std::vector<std::string> texts;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    Conversation branch = trunk.fork();
    const Expected<Answer> answer = branch.generate(drawn(seed));
    ASSERT_TRUE(answer.ok()) << answer.error();
    EXPECT_EQ(answer->reused_tokens + 1, answer->prompt_tokens);
    EXPECT_EQ(answer->tokens.size(), 20u);
    EXPECT_EQ(answer->finish, Finish::kLength);
    EXPECT_EQ(branch.size(), trunk.size() + 20);
    texts.push_back(answer->text);
    Conversation cold = begun(open());  // computed from nothing, elsewhere
    EXPECT_EQ(said(cold, drawn(seed)), answer->text);
  }
  EXPECT_NE(texts[0], texts[1]);
}

TEST_F(Library, PiecesComeOnTheCallersThreadAndMayEndTheAnswer) {
  const Model model = open();
  Conversation talk = begun(model);
  std::string text;
  GenerateOptions options = drawn(3, 400);
  options.on_piece = [&, caller = std::this_thread::get_id()](const Piece& piece) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    text += piece.text;
    return text.size() < 30;
  };
  const Expected<Answer> answer = talk.generate(options);
  ASSERT_TRUE(answer.ok()) << answer.error();
  EXPECT_EQ(answer->text, text);
  EXPECT_EQ(answer->finish, Finish::kCancelled);
  EXPECT_LT(answer->tokens.size(), 40u);
  Conversation same = begun(model);
  EXPECT_EQ(said(same, drawn(3, answer->tokens.size())), text);
  EXPECT_EQ(said(talk, drawn(4)), said(same, drawn(4)));
}

TEST_F(Library, StopStringsSpeculationAndConstraintsHold) {
  const Model model = open();
  const Conversation trunk = begun(model);
  Conversation plain = trunk.fork(), stopped = trunk.fork(), drafted = trunk.fork(), bound = trunk.fork();
  const std::string text = said(plain, drawn(5, 60));
  GenerateOptions options = drawn(5, 60);
  options.stop = {text.substr(20, 5)};
  const Expected<Answer> cut = stopped.generate(options);
  ASSERT_TRUE(cut.ok()) << cut.error();
  EXPECT_EQ(cut->text, text.substr(0, text.find(options.stop[0])));
  EXPECT_EQ(cut->stop, options.stop[0]);
  options.stop.clear();
  options.speculate = 6;
  EXPECT_EQ(said(drafted, options), text);
  options.constraint.regex = "[0-9]{3}-[0-9]{4}";
  EXPECT_THAT(said(bound, options), testing::MatchesRegex("[0-9]{3}-[0-9]{4}"));
}

TEST_F(Library, AConversationGoesOnFromAFileOnAnyCpu) {
  std::string expected;
  {
    const Model model = open();
    Conversation talk = begun(model);
    (void)said(talk, drawn(6));
    ASSERT_TRUE(talk.save(file("talk")).ok());
    expected = said(talk, drawn(7));
  }
  const Model other = open({.isa = "baseline"});
  Expected<Conversation> talk = other.restore(file("talk"));
  ASSERT_TRUE(talk.ok()) << talk.error();
  EXPECT_EQ(talk->known_tokens() + 1, talk->size());
  const Expected<Answer> answer = talk->generate(drawn(7));
  ASSERT_TRUE(answer.ok()) << answer.error();
  EXPECT_EQ(answer->text, expected);
  EXPECT_EQ(answer->reused_tokens + 1, answer->prompt_tokens);
  fs::remove(file("talk.state"));
  Conversation again = std::move(*open().restore(file("talk")));
  EXPECT_EQ(again.known_tokens(), 0u);
  EXPECT_EQ(said(again, drawn(7)), expected);
}

TEST_F(Library, ADamagedFileIsAnErrorAndChangesNothing) {
  const Model model = open();
  Conversation talk = begun(model);
  ASSERT_TRUE(talk.save(file("talk")).ok());
  const Model other = open();
  for (const char* name : {"talk", "talk.state"}) {
    std::ifstream in(file(name), std::ios::binary);
    const std::string good((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    for (size_t i = 0; i < good.size(); i += 1 + good.size() / 40) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ 4);
      std::ofstream(file(name), std::ios::binary) << bad;
      EXPECT_FALSE(other.restore(file("talk")).ok()) << name << " byte " << i;
      std::ofstream(file(name), std::ios::binary) << good.substr(0, i);
      EXPECT_FALSE(other.restore(file("talk")).ok()) << name << " cut at " << i;
    }
    std::ofstream(file(name), std::ios::binary) << good;
  }
  EXPECT_TRUE(other.restore(file("talk")).ok());
  EXPECT_FALSE(other.restore(file("nothing")).ok());
}

// The checksum is no secret: what stands below a good one may still be anything.
TEST_F(Library, ACraftedFileIsAnErrorToo) {
  const Model model = open();
  Conversation talk = begun(model);
  ASSERT_TRUE(talk.save(file("talk")).ok());
  nlohmann::ordered_json good;
  std::ifstream(file("talk")) >> good;
  good.erase("checksum");
  const auto restores = [&](const nlohmann::ordered_json& json) {
    nlohmann::ordered_json signed_json = json;
    const std::string text = json.dump();
    char checksum[17];
    std::snprintf(checksum, sizeof checksum, "%016llx", static_cast<unsigned long long>(program::checksum_of(std::as_bytes(std::span(text)))));
    signed_json["checksum"] = checksum;
    std::ofstream(file("crafted")) << signed_json.dump();
    return model.restore(file("crafted")).ok();
  };
  EXPECT_TRUE(restores(good));
  for (const char* patch : {R"({"tokens": "x"})", R"({"tokens": [1, -1]})", R"({"tokens": [1e9]})", R"({"tokens": [4000000000]})", R"({"tokens": [[1]]})",
                            R"({"tokens": null})", R"({"format": 1})", R"({"model": ["x"]})", R"({"model": "0"})", R"({"messages": 3})",
                            R"({"messages": [3]})", R"({"messages": [{"role": 1, "content": "x"}]})", R"({"messages": [{"role": "user"}]})"}) {
    nlohmann::ordered_json bad = good;
    bad.merge_patch(nlohmann::ordered_json::parse(patch));
    EXPECT_FALSE(restores(bad)) << patch;
  }
}

TEST_F(Library, MessagesGoThroughTheModelsTemplate) {
  const Model model = open();
  ASSERT_TRUE(model.has_chat_template());
  Conversation talk = model.conversation();
  ASSERT_TRUE(talk.append_message("user", "Tell me about the sea.").ok());
  EXPECT_FALSE(talk.append("and").ok());
  const std::string first = said(talk, drawn(8));
  ASSERT_TRUE(talk.append_message("user", "And the moon?").ok());
  EXPECT_EQ(talk.size(), 3u);
  ASSERT_TRUE(talk.save(file("talk")).ok());
  const Expected<Answer> second = talk.generate(drawn(9));
  ASSERT_TRUE(second.ok()) << second.error();
  EXPECT_GT(second->reused_tokens, 0u);
  ASSERT_TRUE(talk.truncate(3).ok());
  EXPECT_EQ(said(talk, drawn(9)), second->text);
  Expected<Conversation> restored = open().restore(file("talk"));
  ASSERT_TRUE(restored.ok()) << restored.error();
  EXPECT_EQ(said(*restored, drawn(9)), second->text);
}

TEST_F(Library, ThreadsShareTheEngineAndNoAnswerDependsOnTheOthers) {
  const Model model = open();
  std::vector<std::string> together(6);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < together.size(); ++i) {
    threads.emplace_back([&, i] {
      Conversation talk = begun(model, "Story " + std::to_string(i % 3) + ". " + kBeginning);
      together[i] = said(talk, drawn(i));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < together.size(); ++i) {
    Conversation alone = begun(model, "Story " + std::to_string(i % 3) + ". " + kBeginning);
    EXPECT_EQ(said(alone, drawn(i)), together[i]);
  }
}

TEST_F(Library, AConversationOutlivesItsModelAndAStateFolderItsProcess) {
  const OpenOptions options{.state_folder = file("states")};
  std::string first;
  {
    std::optional<Conversation> talk;
    {
      const Model model = open(options);
      talk.emplace(begun(model));
    }
    first = said(*talk, drawn(10));
  }
  Conversation talk = begun(open(options));
  const Expected<Answer> answer = talk.generate(drawn(10));
  ASSERT_TRUE(answer.ok()) << answer.error();
  EXPECT_EQ(answer->text, first);
  EXPECT_GE(answer->reused_tokens + 16, answer->prompt_tokens);
}

}  // namespace
}  // namespace sluice
