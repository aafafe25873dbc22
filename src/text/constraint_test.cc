#include "text/constraint.h"

#include <gtest/gtest.h>

#include <string>

#include "text/constraint_test_util.h"
#include "text/tokenizer.h"

namespace sluice::text {
namespace {

ConstraintSpec regex(std::string pattern) { return spec_of(ConstraintKind::kRegex, std::move(pattern)); }
ConstraintSpec grammar(std::string text) { return spec_of(ConstraintKind::kGrammar, std::move(text)); }
ConstraintSpec choice(std::vector<std::string> choices) {
  ConstraintSpec spec = spec_of(ConstraintKind::kChoice, "");
  spec.choices = std::move(choices);
  return spec;
}

TEST(Constraint, RegexDescribesTheWholeOutput) {
  const auto c = compiled(regex("(yes|no), [a-z]{2,5}"));
  EXPECT_TRUE(accepts(c, "yes, abc"));
  EXPECT_FALSE(accepts(c, "yes, a"));
  EXPECT_FALSE(accepts(c, "maybe, abc"));
  EXPECT_FALSE(accepts(c, "yes, abcdef"));
}

TEST(Constraint, ChoiceIsOneOfTheTexts) {
  const auto c = compiled(choice({"yes", "no", "yes and no", "日本"}));
  for (const char* text : {"yes", "no", "yes and no", "日本"}) EXPECT_TRUE(accepts(c, text)) << text;
  for (const char* text : {"", "ye", "yes ", "nope", "日"}) EXPECT_FALSE(accepts(c, text)) << text;
  EXPECT_NE(refusal(choice({})).find("nothing"), std::string::npos);
  EXPECT_NE(refusal(choice({"\xFF"})).find("UTF-8"), std::string::npos);
}

TEST(Constraint, JsonObjectIsAnyObject) {
  const auto c = compiled(spec_of(ConstraintKind::kJsonObject, ""));
  for (const char* text : {"{}", R"({"a":1})", R"({"a":[1,-2.5e+3,{"b":null}],"c":"d\n\u00e9\ud83d\ude00"})", R"({"":{}})"})
    EXPECT_TRUE(accepts(c, text)) << text;
  for (const char* text :
       {"", "[]", "{", R"({"a"})", R"({"a":01})", R"({"a":1,})", R"({"a":"\ud83d"})", "{\"a\":\"\n\"}", R"({"a":tru})", R"({"a": 1})"}) {
    EXPECT_FALSE(accepts(c, text)) << text;
  }
  ConstraintSpec spaced = spec_of(ConstraintKind::kJsonObject, "");
  spaced.space = JsonSpace::kSpaced;
  EXPECT_TRUE(accepts(compiled(spaced), R"({"a": 1, "b": [1, 2]})"));
  EXPECT_FALSE(accepts(compiled(spaced), R"({"a":1})"));
  spaced.space = JsonSpace::kFlexible;
  EXPECT_TRUE(accepts(compiled(spaced), "{\n  \"a\" : 1,\n  \"b\":[1, 2]\n}"));
  EXPECT_TRUE(accepts(compiled(spaced), R"({"a":1})"));
}

TEST(Constraint, GrammarsAreWrittenLikeLlamaCpp) {
  const auto c = compiled(grammar(R"gbnf(
# arithmetic
root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
)gbnf"));
  EXPECT_TRUE(accepts(c, "a +b=3\n"));
  EXPECT_TRUE(accepts(c, "((x1)*(2 +3)) = y\nz=1\n"));
  EXPECT_FALSE(accepts(c, "a +=3\n"));
  EXPECT_FALSE(accepts(c, "((a)=1\n"));
}

TEST(Constraint, GrammarMistakesAreNamedWithTheirLine) {
  EXPECT_NE(refusal(grammar("start ::= \"a\"")).find("no rule 'root'"), std::string::npos);
  EXPECT_NE(refusal(grammar("root ::= word")).find("'word'"), std::string::npos);
  EXPECT_NE(refusal(grammar("root ::= \"a")).find("closing quote"), std::string::npos);
  EXPECT_NE(refusal(grammar("root ::= \"a\"\nroot ::= \"b\"")).find("second definition of 'root' on line 2"), std::string::npos);
  EXPECT_NE(refusal(grammar("root ::= <[1000]>")).find("token reference"), std::string::npos);
  EXPECT_NE(refusal(grammar("root ::= \"\\q\"")).find("\\q"), std::string::npos);
  EXPECT_NE(refusal(grammar("root ::= \"a\"{3,1}")).find("below"), std::string::npos);
}

TEST(Constraint, LeftRecursionIsRewritten) {
  const auto direct = compiled(grammar("root ::= root \"+\" num | num\nnum ::= [0-9]+"));
  EXPECT_TRUE(accepts(direct, "1"));
  EXPECT_TRUE(accepts(direct, "1+22+3"));
  EXPECT_FALSE(accepts(direct, "1+"));
  EXPECT_FALSE(accepts(direct, "+1"));
  const auto indirect = compiled(grammar("root ::= a\na ::= b \"x\" | \"s\"\nb ::= a \"y\" | root \"z\""));
  EXPECT_TRUE(accepts(indirect, "s"));
  EXPECT_TRUE(accepts(indirect, "syx"));
  EXPECT_TRUE(accepts(indirect, "szxyx"));
  EXPECT_FALSE(accepts(indirect, "sy"));
  const auto hidden = compiled(grammar("root ::= n root \"x\" | \"s\"\nn ::= \"n\"?"));
  EXPECT_TRUE(accepts(hidden, "sxx"));
  EXPECT_TRUE(accepts(hidden, "nsx"));
  EXPECT_FALSE(accepts(hidden, "nnsx"));
  const auto doubled = compiled(grammar("root ::= root root | \"(\" root \")\" | \"\""));
  EXPECT_TRUE(accepts(doubled, ""));
  EXPECT_TRUE(accepts(doubled, "(()())()"));
  EXPECT_FALSE(accepts(doubled, "(()"));
}

// The whole point: what the mask allows is what accept takes, token by token, for every token, along random walks.
TEST(Constraint, MasksAllowExactlyWhatIsAccepted) {
  const std::vector<ConstraintSpec> specs = {
      spec_of(ConstraintKind::kJsonObject, ""),
      regex("[a-z]+@[a-z]+\\.com"),
      regex("(foo|ba*r)?.{0,20}"),
      regex("\"[^\"\\\\]*\": (true|false|-?[0-9]+)"),
      choice({"true", "tr", "name", "hello world and more"}),
      grammar("root ::= root \"+\" num | num | \"{\" root \"}\"\nnum ::= [0-9]+ ws\nws ::= [ \\n]*"),
      grammar("root ::= (item \", \")* item\nitem ::= \"[\" root \"]\" | \"abc\"? \"\\\"\" [^\"]* \"\\\"\""),
  };
  TestRandom random;
  for (const ConstraintSpec& spec : specs) {
    for (int run = 0; run < 4; ++run) {
      ConstraintState state(compiled(spec));
      std::string text;
      std::vector<MaskWord> mask(small()->mask_words());
      for (int step = 0; step < 12; ++step) {
        expect_exact_mask(state, *small(), text);
        ASSERT_TRUE(state.fill_mask(mask)) << "nothing allowed after '" << text << "'";
        const int64_t token = random_token(mask, random);
        text += small()->token_bytes(static_cast<uint32_t>(token));
        ASSERT_TRUE(state.accept(static_cast<uint32_t>(token)));
        if (state.finished()) break;
      }
    }
  }
}

TEST(Constraint, EndTokensAreAllowedExactlyWhereTheTextMayEnd) {
  ConstraintState state(compiled(regex("ab?")));
  std::vector<MaskWord> mask(small()->mask_words());
  state.fill_mask(mask);
  EXPECT_FALSE(bit(mask, end_token()));
  EXPECT_FALSE(state.accept(end_token()));
  ASSERT_TRUE(state.accept('a'));
  state.fill_mask(mask);
  EXPECT_TRUE(bit(mask, end_token()));
  EXPECT_FALSE(state.must_end());
  ASSERT_TRUE(state.accept('b'));
  EXPECT_TRUE(state.must_end());
  ASSERT_TRUE(state.accept(end_token()));
  EXPECT_TRUE(state.finished());
  EXPECT_FALSE(state.fill_mask(mask));
  EXPECT_FALSE(state.accept('b'));
}

TEST(Constraint, RollbackAndForkGiveBackTheSameState) {
  const auto c = compiled(spec_of(ConstraintKind::kJsonObject, ""));
  TestRandom random{7};
  ConstraintState state(c);
  std::vector<MaskWord> mask(small()->mask_words()), again(small()->mask_words());
  std::vector<std::vector<MaskWord>> masks;
  for (int step = 0; step < 200 && !state.finished(); ++step) {
    ASSERT_TRUE(state.fill_mask(mask));
    masks.push_back(mask);
    ASSERT_TRUE(state.accept(static_cast<uint32_t>(random_token(mask, random))));
    if (step % 7 == 6) {
      ConstraintState fork(state);
      const uint32_t back = static_cast<uint32_t>(random.below(7) + 1);
      ASSERT_TRUE(fork.rollback(back));
      fork.fill_mask(again);
      EXPECT_EQ(again, masks[masks.size() - back]);
      ASSERT_TRUE(state.rollback(back));
      masks.resize(masks.size() - back);
      state.fill_mask(again);
      fork.fill_mask(mask);
      EXPECT_EQ(mask, again);
    }
  }
  EXPECT_FALSE(state.rollback(100000));
}

TEST(Constraint, RollbackReachesBackAThousandTokensAndNoFurther) {
  ConstraintState state(compiled(regex("(ab)*")));
  for (int i = 0; i < 5000; ++i) ASSERT_TRUE(state.accept(static_cast<uint32_t>(i % 2 ? 'b' : 'a')));
  EXPECT_TRUE(state.can_end());
  EXPECT_FALSE(state.rollback(limits::kConstraintRollbackMax + 1));
  ASSERT_TRUE(state.rollback(limits::kConstraintRollbackMax - 1));
  EXPECT_FALSE(state.can_end());
  EXPECT_TRUE(state.accept('b'));
}

TEST(Constraint, SpecialTokensAreNotText) {
  const uint32_t special = static_cast<uint32_t>(small()->size() - 1);
  ConstraintState state(compiled(regex("[\\s\\S]*")));
  std::vector<MaskWord> mask(small()->mask_words());
  state.fill_mask(mask);
  EXPECT_FALSE(bit(mask, special));
  ConstraintState spelled(compiled(choice({"<|call|>"})));
  EXPECT_FALSE(spelled.accept(special));
  EXPECT_TRUE(spelled.accept_text("<|call|>"));
}

// Byte-level vocabularies have a token for every byte, also for the two that mark special tokens here: they must not be a second way to write one.
TEST(Constraint, SpecialTokensCannotBeSpeltWithTheirMarks) {
  ConstraintSpec spec = choice({"yes"});
  spec.start_after = "<|call|>";
  const auto constraint = compiled(spec);
  ConstraintState state(constraint);
  std::vector<MaskWord> mask(small()->mask_words());
  ASSERT_TRUE(state.fill_mask(mask));
  for (const uint32_t byte : {0xFEu, 0xFFu}) {
    EXPECT_FALSE(bit(mask, byte));
    EXPECT_FALSE(state.accept(byte));
  }
}

TEST(Constraint, BeginsLazilyBehindTheEndOfThinking) {
  ConstraintSpec spec = choice({"yes", "no"});
  spec.start_after = "</think>";
  const auto c = compiled(spec);
  EXPECT_TRUE(accepts(c, "let me see: <</think >maybe</think>\n\nyes"));
  EXPECT_TRUE(accepts(c, "</think>no"));
  EXPECT_FALSE(accepts(c, "yes"));
  EXPECT_FALSE(accepts(c, "hm</think>maybe"));
  ConstraintState state(c);
  ASSERT_TRUE(state.accept_text("so </th"));
  EXPECT_FALSE(state.can_end());
  expect_exact_mask(state, *small(), "so </th");
  spec.start_after = "<|call|>";
  ConstraintState by_token(compiled(spec));
  ASSERT_TRUE(by_token.accept_text("hm"));
  ASSERT_TRUE(by_token.accept(static_cast<uint32_t>(small()->size() - 1)));
  ASSERT_TRUE(by_token.accept_text("no"));
  EXPECT_TRUE(by_token.must_end());
}

// Whether a model thinks first may be its own choice: then it obeys from the beginning or behind its thoughts, and in no other way.
TEST(Constraint, ThinkingFirstMayBeLeftToTheModel) {
  ConstraintSpec spec = choice({"yes", "no", "<the end>"});
  spec.start_after = "</think>";
  spec.start_open = "<think>";
  const auto c = compiled(spec);
  for (const char* good : {"yes", "<the end>", "<think></think>no", "<think>\nyes or no?\n</think>\n\nyes"}) EXPECT_TRUE(accepts(c, good)) << good;
  for (const char* bad : {"maybe", "hm</think>yes", "<think>yes", "<think></think>hm", "<think></think>no</think>no", "yes</think>no", "<thinkyes"}) {
    EXPECT_FALSE(accepts(c, bad)) << bad;
  }
  ConstraintState state(c);
  expect_exact_mask(state, *small(), "");
  ASSERT_TRUE(state.accept_text("<th"));
  expect_exact_mask(state, *small(), "<th");
  spec.start_open = "<|call|>";
  ConstraintState by_token(compiled(spec));
  ASSERT_TRUE(by_token.accept(static_cast<uint32_t>(small()->size() - 1)));
  ASSERT_TRUE(by_token.accept_text("so</think>no"));
  EXPECT_TRUE(by_token.must_end());
}

// Tokenizers differ in whether the marks of thinking are special tokens: either way a model may open its thoughts, and the end is seen.
TEST(Constraint, ThinkingMayBeMarkedBySpecialTokens) {
  std::vector<std::string> tokens = small_vocabulary();
  const uint32_t end = static_cast<uint32_t>(tokens.size() - 2), open = end + 2, close = end + 3, turn = end + 4;
  for (const char* name : {"<think>", "</think>", "<|im_start|>"}) tokens.emplace_back(name);
  std::vector<uint8_t> special(tokens.size(), 0);
  for (const uint32_t token : {end + 1, open, close, turn}) special[token] = 1;
  const auto vocabulary = ConstraintVocabulary::create(tokens, std::vector<uint32_t>{end}, special);
  ASSERT_TRUE(vocabulary.ok());
  ConstraintSpec spec = spec_of(ConstraintKind::kJsonSchema, R"({"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]})");
  spec.start_after = "</think>";
  const auto constraint = Constraint::compile(spec, *vocabulary, {});
  ASSERT_TRUE(constraint.ok());
  ConstraintState state(*constraint);
  std::vector<MaskWord> mask((*vocabulary)->mask_words());
  const auto allowed = [&](uint32_t token) {
    EXPECT_TRUE(state.fill_mask(mask));
    return bit(mask, token);
  };
  EXPECT_TRUE(allowed(open));
  EXPECT_FALSE(allowed(turn));
  EXPECT_FALSE(allowed(end));
  ASSERT_TRUE(state.accept(open) && state.accept_text("\nIs it 1 or 2? {"));
  EXPECT_FALSE(allowed(end));
  ASSERT_TRUE(allowed(close) && state.accept(close) && state.accept_text("\n\n"));
  EXPECT_FALSE(allowed('I'));
  EXPECT_FALSE(allowed(open));
  ASSERT_TRUE(state.accept_text("{\"a\":2}"));
  EXPECT_TRUE(allowed(end));
  ConstraintState spelled(*constraint);
  ASSERT_TRUE(spelled.accept_text("<think>no</think>{\"a\":2"));
  EXPECT_FALSE(spelled.accept_text("x"));
}

TEST(Constraint, ATokenizersVocabularyKnowsWhatItsTokensAre) {
  TokenizerSpec tokens;
  tokens.kind = ModelKind::kCharacterBpe;
  for (const auto& [name, type] : std::vector<std::pair<const char*, TokenType>>{{"yes", TokenType::kNormal}, {"no", TokenType::kNormal},
                                                                               {"<unk>", TokenType::kUnknown}, {"!", TokenType::kByte},
                                                                               {"<|x|>", TokenType::kControl}, {"<end>", TokenType::kControl}}) {
    tokens.tokens.emplace_back(name);
    tokens.types.push_back(type);
  }
  tokens.eos_id = 5;
  const auto tokenizer = Tokenizer::create(tokens);
  ASSERT_TRUE(tokenizer.ok());
  const auto vocabulary = ConstraintVocabulary::of(*tokenizer, 130);  // the model has more logits than that
  ASSERT_TRUE(vocabulary.ok());
  EXPECT_EQ((*vocabulary)->mask_words(), 3u);
  const auto constraint = Constraint::compile(choice({"yes!", "no", "<unk>", "<|x|>", "<end>"}), *vocabulary, {});
  ASSERT_TRUE(constraint.ok());
  ConstraintState state(*constraint);
  std::vector<MaskWord> mask(5, ~MaskWord{0});  // longer than it needs to be
  ASSERT_TRUE(state.fill_mask(mask));
  EXPECT_EQ(mask, (std::vector<MaskWord>{3, 0, 0, 0, 0}));  // no token spells a special token's name, or '<'
  ASSERT_TRUE(state.accept(0) && state.fill_mask(mask));
  EXPECT_EQ(mask, (std::vector<MaskWord>{8, 0, 0, 0, 0}));
  ASSERT_TRUE(state.accept(3) && state.fill_mask(mask));
  EXPECT_EQ(mask, (std::vector<MaskWord>{32, 0, 0, 0, 0}));
}

TEST(Constraint, JumpsAheadOverWhatIsForced) {
  ConstraintState state(compiled(regex("\\{\"name\": \"(foo|bar)\", \"done\": true\\}")));
  EXPECT_EQ(state.jump_ahead(), "{\"name\": \"");
  ASSERT_TRUE(state.accept_text("{\"na"));
  EXPECT_EQ(state.jump_ahead(), "me\": \"");
  ASSERT_TRUE(state.accept_text("me\": \"f"));
  EXPECT_EQ(state.jump_ahead(), "oo\", \"done\": true}");
}

// A greedy longest-match tokenizer over the small vocabulary stands for the real one.
std::vector<uint32_t> greedy(std::string_view text) {
  std::vector<uint32_t> tokens;
  while (!text.empty()) {
    uint32_t best = static_cast<uint8_t>(text[0]);
    for (uint32_t t = 256; t + 2 < small()->size(); ++t) {
      if (text.starts_with(small()->token_bytes(t)) && small()->token_bytes(t).size() > small()->token_bytes(best).size()) best = t;
    }
    tokens.push_back(best);
    text.remove_prefix(small()->token_bytes(best).size());
  }
  return tokens;
}

std::string spelled(const std::vector<uint32_t>& tokens) {
  std::string text;
  for (const uint32_t t : tokens) text += small()->token_bytes(t) + "|";
  return text;
}

TEST(Constraint, JumpAheadInsertsTheTokensTheTokenizerWouldHaveGiven) {
  ConstraintState state(compiled(regex("\\{\"name\":\"(foo|abar)\"\\}")));
  // The last token (":") could become longer with what the model says next, so it is left to the model.
  EXPECT_EQ(spelled(state.jump_ahead_tokens(greedy, {})), "{\"|name|");
  const std::vector<uint32_t> recent = greedy("{\"name\":\"");
  for (const uint32_t t : recent) ASSERT_TRUE(state.accept(t));
  ASSERT_TRUE(state.accept_text("f"));
  std::vector<uint32_t> split = recent;
  split.push_back('f');
  // "foo" is one token: after a lone "f" the tokenizer would have written something else, so nothing is inserted.
  EXPECT_EQ(spelled(state.jump_ahead_tokens(greedy, split)), "");
  ConstraintState other(compiled(regex("\\{\"name\":\"(foo|abar)\"\\}")));
  for (const uint32_t t : recent) ASSERT_TRUE(other.accept(t));
  ASSERT_TRUE(other.accept_text("foo"));
  EXPECT_EQ(spelled(other.jump_ahead_tokens(greedy, greedy("{\"name\":\"foo"))), "\"}|");
}

TEST(Constraint, AVocabularyThatCannotSpellTheOutputSaysSo) {
  const std::vector<std::string> tokens = {"a", "c", "<end>"};
  const std::vector<uint32_t> end = {2};
  const auto poor = ConstraintVocabulary::create(tokens, end, {});
  ASSERT_TRUE(poor.ok());
  const auto c = Constraint::compile(choice({"abc"}), *poor, {});
  ASSERT_TRUE(c.ok());
  ConstraintState state(*c);
  std::vector<MaskWord> mask((*poor)->mask_words());
  EXPECT_TRUE(state.fill_mask(mask));
  ASSERT_TRUE(state.accept(0));
  EXPECT_FALSE(state.fill_mask(mask));
}

TEST(Constraint, EndTokensMustBeInTheVocabulary) {
  const std::vector<std::string> tokens = {"a"};
  const std::vector<uint32_t> end = {1};
  const auto created = ConstraintVocabulary::create(tokens, end, {});
  ASSERT_FALSE(created.ok());
  EXPECT_NE(created.error().message.find("1"), std::string::npos);
}

}  // namespace
}  // namespace sluice::text
