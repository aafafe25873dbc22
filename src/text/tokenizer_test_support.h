// For this room's tests only: reads a GGUF file's tokenizer keys (the real reader lives in weights/, which text/ may
// not include), files, and the blocks of llama.cpp's .inp and .out files. Contract: trusts its files. Next:
// text/tokenizer_data_test.cc.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"
#include "text/tokenizer_gguf.h"

namespace sluice::text {

inline std::string shared_path(const std::string& name) {
  return std::string(SLUICE_SHARED_DIR) + "/" + name;
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

#define SLUICE_SKIP_WITHOUT(path)                                           \
  do {                                                                      \
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs " << (path); \
  } while (false)

class GgufKeys {
 public:
  explicit GgufKeys(const std::string& path) : bytes_(read_file(path)) {}

  GgufTokenizerFields tokenizer() {
    at_ = 16;
    const auto keys = number<uint64_t>();
    for (uint64_t i = 0; i < keys; ++i) {
      const std::string key = text();
      value(key, number<uint32_t>());
    }
    return std::move(fields_);
  }

 private:
  template <class T>
  T number() {
    T v{};
    std::memcpy(&v, bytes_.data() + at_, sizeof v);
    at_ += sizeof v;
    return v;
  }
  std::string text() {
    const auto size = number<uint64_t>();
    std::string v = bytes_.substr(at_, size);
    at_ += size;
    return v;
  }
  int64_t integer(uint32_t type) {
    switch (type) {
      case 0:
      case 1:
      case 7:
        return number<uint8_t>();
      case 2:
      case 3:
        return number<uint16_t>();
      case 4:
        return number<uint32_t>();
      case 5:
        return number<int32_t>();
      default:
        return number<int64_t>();
    }
  }
  void element(const std::string& key, uint32_t type) {
    if (type == 8) {
      std::string v = text();
      if (key == "tokenizer.ggml.tokens")
        fields_.tokens.push_back(std::move(v));
      else if (key == "tokenizer.ggml.merges")
        fields_.merges.push_back(std::move(v));
    } else if (type == 6) {
      const auto v = number<float>();
      if (key == "tokenizer.ggml.scores") fields_.scores.push_back(v);
    } else {
      const int64_t v = integer(type);
      if (key == "tokenizer.ggml.token_type")
        fields_.token_type.push_back(static_cast<int32_t>(v));
      else if (key == "tokenizer.ggml.precompiled_charsmap")
        fields_.precompiled_charsmap.push_back(static_cast<char>(v));
    }
  }
  void value(const std::string& key, uint32_t type) {
    if (type == 9) {
      const auto element_type = number<uint32_t>();
      const auto count = number<uint64_t>();
      for (uint64_t i = 0; i < count; ++i) element(key, element_type);
    } else if (type == 8) {
      std::string v = text();
      if (key == "tokenizer.ggml.model")
        fields_.model = v;
      else if (key == "tokenizer.ggml.pre")
        fields_.pre = v;
      else if (key == "tokenizer.chat_template")
        fields_.chat_templates.push_back({"default", v});
    } else if (type == 6) {
      number<float>();
    } else {
      const int64_t v = integer(type);
      if (key == "tokenizer.ggml.bos_token_id")
        fields_.bos_token_id = v;
      else if (key == "tokenizer.ggml.eos_token_id")
        fields_.eos_token_id = v;
      else if (key == "tokenizer.ggml.eot_token_id")
        fields_.eot_token_id = v;
      else if (key == "tokenizer.ggml.unknown_token_id")
        fields_.unknown_token_id = v;
      else if (key == "tokenizer.ggml.padding_token_id")
        fields_.padding_token_id = v;
      else if (key == "tokenizer.ggml.add_bos_token")
        fields_.add_bos_token = v != 0;
      else if (key == "tokenizer.ggml.add_eos_token")
        fields_.add_eos_token = v != 0;
      else if (key == "tokenizer.ggml.add_space_prefix")
        fields_.add_space_prefix = v != 0;
    }
  }

  std::string bytes_;
  size_t at_ = 0;
  GgufTokenizerFields fields_;
};

// Blocks separated by a line of __ggml_vocab_test__; the newline before the separator belongs to it.
inline std::vector<std::string> inp_blocks(const std::string& path) {
  const std::string text = read_file(path);
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::vector<std::string> blocks;
  size_t at = 0;
  for (size_t hit = text.find(separator); hit != std::string::npos; hit = text.find(separator, at)) {
    blocks.push_back(text.substr(at, hit - at));
    at = hit + separator.size();
  }
  if (at < text.size()) blocks.push_back(text.substr(at));
  return blocks;
}

inline std::vector<std::vector<int32_t>> out_lines(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::vector<int32_t>> lines;
  for (std::string line; std::getline(in, line);) {
    std::istringstream numbers(line);
    lines.emplace_back(std::istream_iterator<int32_t>(numbers), std::istream_iterator<int32_t>());
  }
  return lines;
}

}  // namespace sluice::text
