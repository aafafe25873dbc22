// Certificates made here: good, expired, early, of another key, and files that are none.
#include "server/certificate.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>

namespace sluice::server {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kNow = 1'800'000'000, kDay = 86'400;

class Certificates : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("sluice-certificate-" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  void make(const std::string& name, int64_t from_s, int64_t to_s) {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* certificate = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    ASN1_TIME_set(X509_getm_notBefore(certificate), static_cast<time_t>(from_s));
    ASN1_TIME_set(X509_getm_notAfter(certificate), static_cast<time_t>(to_s));
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("llm.example"), -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_sign(certificate, key, EVP_sha256());
    std::FILE* out = std::fopen(path(name + ".pem").c_str(), "wb");
    PEM_write_X509(out, certificate);
    std::fclose(out);
    out = std::fopen(path(name + ".key").c_str(), "wb");
    PEM_write_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(out);
    out = std::fopen(path(name + ".locked.key").c_str(), "wb");
    PEM_write_PrivateKey(out, key, EVP_aes_128_cbc(), reinterpret_cast<const unsigned char*>("secret"), 6, nullptr, nullptr);
    std::fclose(out);
    X509_free(certificate);
    EVP_PKEY_free(key);
  }

  fs::path folder_;
};

TEST_F(Certificates, AGoodOneHasNoWarning) {
  make("good", kNow - kDay, kNow + 90 * kDay);
  const Result<CertificateFacts> facts = check_certificate(path("good.pem"), path("good.key"), kNow);
  ASSERT_TRUE(facts.ok()) << facts.error().message;
  EXPECT_EQ(facts->subject, "llm.example");
  EXPECT_EQ(facts->not_after_s, kNow + 90 * kDay);
  EXPECT_EQ(facts->warning, "");
}

TEST_F(Certificates, ExpiredEarlyAndSoonAreSaidWithTheirDates) {
  make("old", kNow - 100 * kDay, kNow - 3 * kDay - 5);
  const Result<CertificateFacts> old = check_certificate(path("old.pem"), path("old.key"), kNow);
  ASSERT_TRUE(old.ok());
  EXPECT_TRUE(old->expired);
  const std::string sentence = "of llm.example expired on 2027-01-12 (3 days ago); clients will refuse it: renew it and send SIGHUP";
  EXPECT_NE(old->warning.find(sentence), std::string::npos) << old->warning;
  make("early", kNow + kDay, kNow + 100 * kDay);
  EXPECT_NE(check_certificate(path("early.pem"), path("early.key"), kNow)->warning.find("not valid before 2027-01-16"), std::string::npos);
  make("soon", kNow - kDay, kNow + 2 * kDay);
  const Result<CertificateFacts> soon = check_certificate(path("soon.pem"), path("soon.key"), kNow);
  EXPECT_FALSE(soon->expired);
  EXPECT_NE(soon->warning.find("expires on 2027-01-17 (in 2 days)"), std::string::npos) << soon->warning;
}

TEST_F(Certificates, WhatCannotBeServedIsAnError) {
  make("a", kNow - kDay, kNow + 90 * kDay);
  make("b", kNow - kDay, kNow + 90 * kDay);
  const auto error = [&](const std::string& certificate, const std::string& key) {
    const Result<CertificateFacts> facts = check_certificate(path(certificate), path(key), kNow);
    return facts.ok() ? "" : facts.error().message;
  };
  EXPECT_NE(error("a.pem", "b.key").find("does not belong to the certificate"), std::string::npos);
  EXPECT_NE(error("a.key", "a.key").find("holds no PEM certificate"), std::string::npos);
  EXPECT_NE(error("a.pem", "a.pem").find("holds no PEM private key"), std::string::npos);
  EXPECT_NE(error("a.pem", "a.locked.key").find("without a passphrase"), std::string::npos);
  EXPECT_NE(error("none.pem", "a.key").find("none.pem"), std::string::npos);
  std::ofstream(path("empty.pem")) << "";
  EXPECT_NE(error("empty.pem", "a.key"), "");
}

}  // namespace
}  // namespace sluice::server
