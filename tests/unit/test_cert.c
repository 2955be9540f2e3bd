// Certificate facts and verdicts over chains made here: root, intermediate, leaf, and each way they can be wrong.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "../../runtime/cert.h"

enum { NOW_S = 1800000000, DAY_S = 86400 }; // 2027-01-15T08:00:00Z

struct made {
  X509 *cert;
  EVP_PKEY *key;
  char pem[4096];
  unsigned char der[4096];
  size_t der_len;
};

static void extend(X509 *cert, X509 *issuer, int nid, const char *value) {
  X509V3_CTX ctx;
  X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
  X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
  assert_non_null(extension);
  X509_add_ext(cert, extension, -1);
  X509_EXTENSION_free(extension);
}

static void make(struct made *out, const char *name, struct made *by, bool ca, const char *sans, int from_days, int to_days,
                 EVP_PKEY *key) {
  out->key = key;
  out->cert = X509_new();
  X509_set_version(out->cert, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(out->cert), 0xabcde);
  X509_time_adj_ex(X509_getm_notBefore(out->cert), from_days, 0, &(time_t){NOW_S});
  X509_time_adj_ex(X509_getm_notAfter(out->cert), to_days, 0, &(time_t){NOW_S});
  X509_set_pubkey(out->cert, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(out->cert), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
  X509_set_issuer_name(out->cert, X509_get_subject_name(by ? by->cert : out->cert));
  extend(out->cert, by ? by->cert : out->cert, NID_basic_constraints, ca ? "critical,CA:TRUE" : "CA:FALSE");
  if (sans) extend(out->cert, by ? by->cert : out->cert, NID_subject_alt_name, sans);
  assert_true(X509_sign(out->cert, by ? by->key : key,
                        EVP_PKEY_get_base_id(by ? by->key : key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256()) > 0);
  unsigned char *p = out->der;
  assert_true(i2d_X509(out->cert, NULL) < (int)sizeof out->der);
  out->der_len = (size_t)i2d_X509(out->cert, &p);
  BIO *bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, out->cert);
  char *bytes;
  long len = BIO_get_mem_data(bio, &bytes);
  memcpy(out->pem, bytes, (size_t)len);
  out->pem[len] = '\0';
  BIO_free(bio);
}

static struct made root, middle, old_middle, leaf, expired, early, below_old, selfie, odd;
static struct wd_arena arena;
static struct x509_store_st *store;

static int set_up(void **state) {
  (void)state;
  char error[256];
  EVP_PKEY *rsa = EVP_RSA_gen(2048);
  make(&root, "Test Root", NULL, true, NULL, -1000, 1000, EVP_EC_gen("P-384"));
  make(&middle, "Test Middle", &root, true, NULL, -500, 500, EVP_EC_gen("P-256"));
  make(&old_middle, "Old Middle", &root, true, NULL, -500, -2, EVP_EC_gen("P-256"));
  make(&leaf, "a.test", &middle, false, "DNS:a.test,DNS:*.b.test,IP:127.0.0.1,IP:::1,email:x@a.test,URI:https://a.test/", -10, 30,
       rsa);
  make(&expired, "gone.test", &middle, false, "DNS:gone.test", -10, -3, EVP_EC_gen("P-256"));
  make(&early, "soon.test", &middle, false, "DNS:soon.test", 2, 30, EVP_EC_gen("P-256"));
  make(&below_old, "below.test", &old_middle, false, "DNS:below.test", -10, 30, EVP_EC_gen("P-256"));
  make(&selfie, "self.test", NULL, false, "DNS:self.test", -10, -1, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
  make(&odd, "odd\x1b[31m\n.test", &middle, false, NULL, -10, 30, EVP_EC_gen("P-256"));
  store = wd_cert_store(root.pem, error, sizeof error);
  return store ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  struct made *all[] = {&root, &middle, &old_middle, &leaf, &expired, &early, &below_old, &selfie, &odd};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    X509_free(all[i]->cert);
    EVP_PKEY_free(all[i]->key);
  }
  wd_cert_store_release(store);
  wd_cert_store_forget();
  wd_arena_free(&arena);
  return 0;
}

static struct wd_cert_report judge(struct made *first, struct made *second, const char *host) {
  struct wd_cert_report report;
  struct wd_cert_blob blobs[] = {{first->der, first->der_len}, {second ? second->der : NULL, second ? second->der_len : 0}};
  assert_true(wd_cert_examine(&report, &arena, blobs, second ? 2 : 1, store, host, NOW_S));
  assert_int_equal(report.chain_count, second ? 2 : 1);
  return report;
}

static void expect(struct made *first, struct made *second, const char *host, const char *verify, const char *detail) {
  struct wd_cert_report report = judge(first, second, host);
  assert_string_equal(wd_cert_verify_name(report.verify), verify);
  if (detail)
    assert_string_equal(report.detail, detail);
  else
    assert_null(report.detail);
}

static void test_facts(void **state) {
  (void)state;
  struct wd_cert_report report = judge(&leaf, &middle, NULL);
  const struct wd_cert *cert = &report.chain[0];
  assert_string_equal(cert->subject, "CN=a.test");
  assert_string_equal(cert->issuer, "CN=Test Middle");
  assert_int_equal(cert->sans_count, 6);
  const char *sans[] = {"a.test", "*.b.test", "127.0.0.1", "::1", "x@a.test", "https://a.test/"};
  for (int i = 0; i < 6; i++) assert_string_equal(cert->sans[i], sans[i]);
  assert_string_equal(cert->not_before, "2027-01-05T08:00:00Z");
  assert_string_equal(cert->not_after, "2027-02-14T08:00:00Z");
  assert_true(fabs(cert->days_left - 30) < 1e-9);
  assert_int_equal(strlen(cert->sha256), 64);
  assert_string_equal(cert->key, "RSA 2048");
  assert_string_equal(cert->serial, "0abcde");
  assert_string_equal(report.chain[1].key, "EC P-256");
  assert_string_equal(judge(&selfie, NULL, NULL).chain[0].key, "Ed25519");
  assert_string_equal(judge(&odd, NULL, NULL).chain[0].subject, "CN=odd\\1B[31m\\0A.test");
}

static void test_good(void **state) {
  (void)state;
  expect(&leaf, &middle, "a.test", "ok", NULL);
  expect(&leaf, &middle, "A.TEST.", "ok", NULL);
  expect(&leaf, &middle, "x.b.test", "ok", NULL);
  expect(&leaf, &middle, "127.0.0.1", "ok", NULL);
  expect(&leaf, &middle, "::1", "ok", NULL);
  expect(&leaf, &middle, NULL, "ok", NULL);
}

static void test_wrong_name(void **state) {
  (void)state;
  expect(&leaf, &middle, "c.test", "tls_name_mismatch",
         "certificate is for a.test, *.b.test, 127.0.0.1, ::1, x@a.test and 1 more; not for c.test");
  expect(&leaf, &middle, "127.0.0.2", "tls_name_mismatch",
         "certificate is for a.test, *.b.test, 127.0.0.1, ::1, x@a.test and 1 more; not for 127.0.0.2");
  expect(&leaf, &middle, "y.x.b.test", "tls_name_mismatch",
         "certificate is for a.test, *.b.test, 127.0.0.1, ::1, x@a.test and 1 more; not for y.x.b.test");
  expect(&leaf, &middle, ".b.test", "tls_name_mismatch",
         "certificate is for a.test, *.b.test, 127.0.0.1, ::1, x@a.test and 1 more; not for .b.test");
  expect(&odd, &middle, "c.test", "tls_name_mismatch", "certificate is for CN=odd\\1B[31m\\0A.test; not for c.test");
}

static void test_dates(void **state) {
  (void)state;
  expect(&expired, &middle, "gone.test", "tls_expired", "certificate expired 3 days ago (CN=gone.test)");
  expect(&early, &middle, "soon.test", "tls_expired",
         "certificate is not valid for another 2 days (CN=soon.test): is this machine's clock right?");
  expect(&below_old, &old_middle, "below.test", "tls_expired", "issuer's certificate expired 2 days ago (CN=Old Middle)");
  assert_true(judge(&expired, &middle, NULL).chain[0].days_left < -2.9);
}

static void test_untrusted(void **state) {
  (void)state;
  expect(&leaf, NULL, "a.test", "tls_untrusted",
         "unable to get the issuer's certificate: CN=Test Middle is not trusted here and the server did not send it (CN=a.test)");
  expect(&selfie, NULL, "other.test", "tls_untrusted",
         "self-signed certificate (CN=self.test); certificate expired 1 day ago (CN=self.test); certificate is for self.test; "
         "not for other.test");
  struct x509_store_st *kept = store;
  char error[256];
  store = wd_cert_store(selfie.pem, error, sizeof error);
  expect(&selfie, NULL, "self.test", "tls_expired", "certificate expired 1 day ago (CN=self.test)");
  expect(&middle, &root, NULL, "tls_untrusted",
         "the chain ends in a self-signed certificate that is not trusted here (CN=Test Root)");
  wd_cert_store_release(store);
  store = kept;
}

static void test_hostile_blobs(void **state) {
  (void)state;
  struct wd_cert_report report;
  struct wd_cert_blob none = {"", 0}, junk = {"\x30\x82\xff\xff junk", 9}, pem_junk = {"-----BEGIN CERTIFICATE-----\nAAAA\n", 32};
  assert_true(wd_cert_examine(&report, &arena, NULL, 0, store, "a.test", NOW_S));
  assert_string_equal(report.detail, "the server presented no certificate");
  assert_true(wd_cert_examine(&report, &arena, &none, 1, store, "a.test", NOW_S));
  assert_int_equal(report.verify, WD_E_TLS_UNTRUSTED);
  assert_true(wd_cert_examine(&report, &arena, &junk, 1, store, "a.test", NOW_S));
  assert_string_equal(report.detail, "a certificate of the chain cannot be read");
  assert_true(wd_cert_examine(&report, &arena, &pem_junk, 1, NULL, "a.test", NOW_S));
  assert_int_equal(report.verify, WD_OK);
  for (size_t cut = 0; cut < leaf.der_len; cut += 7) {
    struct wd_cert_blob blob = {leaf.der, cut};
    assert_true(wd_cert_examine(&report, &arena, &blob, 1, store, "a.test", NOW_S));
    assert_int_equal(report.verify, WD_E_TLS_UNTRUSTED);
  }
  struct wd_cert_blob many[40];
  for (int i = 0; i < 40; i++) many[i] = (struct wd_cert_blob){leaf.pem, strlen(leaf.pem)};
  assert_true(wd_cert_examine(&report, &arena, many, 40, store, "a.test", NOW_S));
  assert_int_equal(report.chain_count, WD_CERT_CHAIN_MAX);
}

static void write_file(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static void test_store_sources(void **state) {
  (void)state;
  char folder[] = "/tmp/waddle-cert-XXXXXX", path[64], error[256] = "";
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/ca.pem", folder);

  assert_null(wd_cert_store(path, error, sizeof error));
  assert_non_null(strstr(error, path));
  assert_non_null(strstr(error, "give the path of a PEM file or folder"));
  assert_null(wd_cert_store(folder, error, sizeof error));
  assert_non_null(strstr(error, "expected one or more blocks"));
  write_file(path, "not a certificate");
  assert_null(wd_cert_store(path, error, sizeof error));

  write_file(path, root.pem);
  struct x509_store_st *first = wd_cert_store(path, error, sizeof error), *again = wd_cert_store(path, error, sizeof error);
  assert_non_null(first);
  assert_ptr_equal(first, again);
  struct x509_store_st *by_folder = wd_cert_store(folder, error, sizeof error);
  assert_non_null(by_folder);

  char both[sizeof root.pem + sizeof selfie.pem];
  snprintf(both, sizeof both, "%s%s", root.pem, selfie.pem);
  write_file(path, both);
  struct x509_store_st *changed = wd_cert_store(path, error, sizeof error);
  assert_ptr_not_equal(first, changed);

  assert_int_equal(setenv("SSL_CERT_FILE", path, 1), 0);
  struct x509_store_st *system = wd_cert_store(NULL, error, sizeof error);
  assert_ptr_equal(system, changed);
  setenv("SSL_CERT_FILE", "/nonexistent.pem", 1);
  assert_null(wd_cert_store(NULL, error, sizeof error));
  assert_non_null(strstr(error, "/nonexistent.pem"));
  assert_non_null(strstr(error, "correct SSL_CERT_FILE"));
  unsetenv("SSL_CERT_FILE");

  // More keys than slots: the ones in use stay valid, the ones dropped are read again.
  for (int i = 0; i < 12; i++) {
    char many[64];
    snprintf(many, sizeof many, "%s/%d.pem", folder, i);
    write_file(many, root.pem);
    wd_cert_store_release(wd_cert_store(many, error, sizeof error));
    unlink(many);
  }
  struct x509_store_st *all[] = {first, again, by_folder, changed, system};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) wd_cert_store_release(all[i]);
  unlink(path);
  rmdir(folder);
}

static void test_self_signed(void **state) {
  (void)state;
  char error[256] = "", folder[] = "/tmp/waddle-cert-XXXXXX", cert_path[64], key_path[64];
  struct wd_cert_pair pair;
  struct wd_cert_report report;
  const char *names[] = {"localhost", "127.0.0.1", "::1"};
  if (!wd_cert_self_signed(&pair, &arena, names, 3, 30, error, sizeof error)) fail_msg("%s", error);
  struct x509_store_st *own = wd_cert_store(pair.cert_pem, error, sizeof error);
  assert_non_null(own);
  struct wd_cert_blob blob = {pair.cert_pem, strlen(pair.cert_pem)};
  for (int i = 0; i < 3; i++) {
    assert_true(wd_cert_examine(&report, &arena, &blob, 1, own, names[i], time(NULL)));
    assert_string_equal(wd_cert_verify_name(report.verify), "ok");
  }
  assert_string_equal(report.chain[0].sha256, pair.sha256);
  assert_string_equal(report.chain[0].key, "EC P-256");
  assert_true(report.chain[0].days_left > 29.9 && report.chain[0].days_left < 30.1);
  assert_true(wd_cert_examine(&report, &arena, &blob, 1, own, "other.test", time(NULL)));
  assert_int_equal(report.verify, WD_E_TLS_NAME_MISMATCH);
  wd_cert_store_release(own);

  assert_non_null(mkdtemp(folder));
  snprintf(cert_path, sizeof cert_path, "%s/cert.pem", folder);
  snprintf(key_path, sizeof key_path, "%s/key.pem", folder);
  write_file(cert_path, pair.cert_pem);
  assert_false(wd_cert_check_pair(cert_path, key_path, error, sizeof error));
  assert_non_null(strstr(error, "cannot read the key"));
  assert_false(wd_cert_check_pair(cert_path, NULL, error, sizeof error));
  assert_non_null(strstr(error, "no private key in"));
  write_file(key_path, pair.key_pem);
  assert_true(wd_cert_check_pair(cert_path, key_path, error, sizeof error));
  write_file(cert_path, leaf.pem);
  assert_false(wd_cert_check_pair(cert_path, key_path, error, sizeof error));
  assert_non_null(strstr(error, "does not belong to"));
  assert_false(wd_cert_check_pair(key_path, key_path, error, sizeof error));
  assert_non_null(strstr(error, "no certificate in"));
  unlink(cert_path), unlink(key_path), rmdir(folder);

  assert_false(wd_cert_self_signed(&pair, &arena, names, 0, 30, error, sizeof error));
  assert_string_equal(error, "cannot make a certificate: no name given");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_facts),         cmocka_unit_test(test_good),        cmocka_unit_test(test_wrong_name),
      cmocka_unit_test(test_dates),         cmocka_unit_test(test_untrusted),   cmocka_unit_test(test_hostile_blobs),
      cmocka_unit_test(test_store_sources), cmocka_unit_test(test_self_signed),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
