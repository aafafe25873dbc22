#include "server/certificate.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <ctime>
#include <memory>

#include "platform/file.h"

namespace sluice::server {
namespace {

constexpr uint64_t kPemBytesMax = 1u << 20;
constexpr int64_t kDayS = 86'400;
constexpr int64_t kSoonDays = 14;

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(GENERAL_NAMES* names) const { GENERAL_NAMES_free(names); }
};

std::unique_ptr<BIO, Free> bio_of(const std::string& text) { return std::unique_ptr<BIO, Free>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

int64_t unix_of(const ASN1_TIME* time) {
  std::tm utc{};
  if (ASN1_TIME_to_tm(time, &utc) != 1) return 0;
  return static_cast<int64_t>(timegm(&utc));
}

std::string day_text(int64_t unix_s) {
  const std::time_t time = static_cast<std::time_t>(unix_s);
  std::tm utc{};
  gmtime_r(&time, &utc);
  return fmt::format("{:04}-{:02}-{:02}", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday);
}

std::string subject_of(X509* certificate) {
  char name[256] = "";
  if (X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, sizeof name) > 0) return name;
  const std::unique_ptr<GENERAL_NAMES, Free> names(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* one = sk_GENERAL_NAME_value(names.get(), i);
    if (one->type != GEN_DNS) continue;
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(one->d.dNSName)), static_cast<size_t>(ASN1_STRING_length(one->d.dNSName))};
  }
  return "no name";
}

}  // namespace

Result<CertificateFacts> check_certificate(const std::string& certificate_file, const std::string& key_file, int64_t now_s) {
  SLUICE_TRY(const std::string certificate_text, platform::read_whole_file(certificate_file, kPemBytesMax));
  SLUICE_TRY(std::string key_text, platform::read_whole_file(key_file, kPemBytesMax));
  ERR_clear_error();
  const std::unique_ptr<X509, Free> certificate(PEM_read_bio_X509(bio_of(certificate_text).get(), nullptr, nullptr, nullptr));
  // Without a terminal there is nobody to ask for a passphrase.
  const auto no_passphrase = [](char*, int, int, void*) { return 0; };
  const std::unique_ptr<EVP_PKEY, Free> key(PEM_read_bio_PrivateKey(bio_of(key_text).get(), nullptr, no_passphrase, nullptr));
  const bool encrypted = key_text.find("ENCRYPTED") != std::string::npos;
  OPENSSL_cleanse(key_text.data(), key_text.size());
  ERR_clear_error();
  if (!certificate) return Error{fmt::format("{}: holds no PEM certificate", certificate_file)};
  if (!key) return Error{fmt::format("{}: holds no PEM private key{}", key_file, encrypted ? " without a passphrase" : "")};
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return Error{fmt::format("{}: this private key does not belong to the certificate {}", key_file, certificate_file)};
  }
  CertificateFacts facts;
  facts.subject = subject_of(certificate.get());
  facts.not_before_s = unix_of(X509_get0_notBefore(certificate.get()));
  facts.not_after_s = unix_of(X509_get0_notAfter(certificate.get()));
  facts.expired = now_s > facts.not_after_s;
  const int64_t days = (facts.expired ? now_s - facts.not_after_s : facts.not_after_s - now_s) / kDayS;
  if (facts.expired) {
    facts.warning = fmt::format("{}: the certificate of {} expired on {} ({} days ago); clients will refuse it: renew it and send SIGHUP", certificate_file,
                                facts.subject, day_text(facts.not_after_s), days);
  } else if (now_s < facts.not_before_s) {
    facts.warning = fmt::format("{}: the certificate of {} is not valid before {}; clients will refuse it until then (or this machine's clock is wrong)",
                                certificate_file, facts.subject, day_text(facts.not_before_s));
  } else if (days < kSoonDays) {
    facts.warning = fmt::format("{}: the certificate of {} expires on {} (in {} days)", certificate_file, facts.subject, day_text(facts.not_after_s), days);
  }
  return facts;
}

}  // namespace sluice::server
