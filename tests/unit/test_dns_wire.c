// DNS queries built, answers read, spoofed and damaged ones told apart.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <ldns/ldns.h>

#include "../../probes/dns_wire.h"

static struct wd_arena arena;
static char error[256];

static int tear_down(void **state) {
  (void)state;
  wd_arena_free(&arena);
  return 0;
}

static struct wd_dns_query build(const char *name, const char *type) {
  struct wd_dns_query query;
  struct wd_dns_ask ask = {.name = name, .type = type, .recurse = true};
  if (!wd_dns_build(&query, &arena, &ask, error, sizeof error)) fail_msg("%s", error);
  return query;
}

// An answer to the query with these records ("=" in front: authority, "+": additional), on the heap at its exact size.
static uint8_t *answer(const struct wd_dns_query *query, uint16_t flags, size_t *len, const char *const *records, size_t count) {
  ldns_pkt *pkt;
  uint8_t *wire;
  assert_int_equal(ldns_wire2pkt(&pkt, query->udp, query->udp_len), LDNS_STATUS_OK);
  for (size_t i = 0; i < count; i++) {
    ldns_rr *rr;
    const char *text = records[i];
    ldns_pkt_section section = *text == '=' ? LDNS_SECTION_AUTHORITY
        : *text == '+'                      ? LDNS_SECTION_ADDITIONAL
                                            : LDNS_SECTION_ANSWER;
    assert_int_equal(ldns_rr_new_frm_str(&rr, text + (section != LDNS_SECTION_ANSWER), 0, NULL, NULL), LDNS_STATUS_OK);
    ldns_pkt_push_rr(pkt, section, rr);
  }
  assert_int_equal(ldns_pkt2wire(&wire, pkt, len), LDNS_STATUS_OK);
  ldns_pkt_free(pkt);
  wire[2] = (uint8_t)(flags >> 8);
  wire[3] = (uint8_t)flags;
  return wire;
}

static void test_query_bytes(void **state) {
  (void)state;
  struct wd_dns_query query;
  struct wd_dns_ask ask = {.name = "Example.com.", .type = "aaaa", .recurse = true};
  assert_true(wd_dns_build(&query, &arena, &ask, error, sizeof error));
  assert_int_equal(query.udp_len, 29);
  assert_int_equal(query.udp[0] << 8 | query.udp[1], query.id);
  assert_memory_equal(query.udp + 2, "\x01\x00\0\x01\0\0\0\0\0\0\7Example\3com\0\0\x1c\0\x01", 27);
  assert_memory_equal(query.tcp, "\0\x1d", 2);
  assert_ptr_equal(query.tcp + 2, query.udp);
  assert_string_equal(query.name, "Example.com");
  assert_string_equal(query.type_name, "AAAA");

  ask = (struct wd_dns_ask){.name = ".", .type = "NS", .edns_size = 4096, .dnssec = true};
  assert_true(wd_dns_build(&query, &arena, &ask, error, sizeof error));
  assert_memory_equal(query.udp + 2, "\0\0\0\x01\0\0\0\0\0\x01\0\0\x02\0\x01\0\0\x29\x10\0\0\0\x80\0\0\0", 26);
  assert_string_equal(query.name, ".");
  ask.edns_size = 0;
  assert_true(wd_dns_build(&query, &arena, &ask, error, sizeof error));
  assert_memory_equal(query.udp + 17, "\0\0\x29\x04\xd0", 5);
}

static void test_ids_are_random(void **state) {
  (void)state;
  int seen[8], same = 0;
  for (int i = 0; i < 8; i++) {
    seen[i] = build("example.com", "A").id;
    same += i && seen[i] == seen[i - 1];
  }
  assert_true(same < 3);
}

static void test_reverse(void **state) {
  (void)state;
  assert_string_equal(build("192.0.2.1", "PTR").name, "1.2.0.192.in-addr.arpa");
  assert_string_equal(build("2001:db8::1", "PTR").name,
                      "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
  assert_string_equal(build("192.0.2.1", "A").name, "192.0.2.1");
}

static void expect_refused(const char *name, const char *type, const char *reason) {
  struct wd_dns_query query;
  struct wd_dns_ask ask = {.name = name, .type = type};
  assert_false(wd_dns_build(&query, &arena, &ask, error, sizeof error));
  if (!strstr(error, reason)) fail_msg("got <%s>, wanted <%s>", error, reason);
}

static void test_bad_questions(void **state) {
  (void)state;
  char label[70], name[400];
  memset(label, 'a', 64);
  label[64] = '\0';
  memset(name, 0, sizeof name);
  for (int i = 0; i < 130; i++) strcat(name, "a.");
  expect_refused("", "A", "'' is not a domain name: it is empty");
  expect_refused("a..b", "A", "an empty part");
  expect_refused(label, "A", "longer than 63");
  expect_refused(name, "A", "longer than 255");
  expect_refused("a.test", "BOGUS", "'BOGUS' is not a record type");
  expect_refused("a.test", "", "is not a record type");
  expect_refused("a.test", "AXFR", "is not a record type");
  expect_refused("a.test", "OPT", "is not a record type");
  expect_refused("a.test", "TYPE70000", "is not a record type");
  expect_refused("a.test", "TYPE65x", "is not a record type");
  assert_int_equal(build("a.test", "TYPE65").type, 65);
  assert_int_equal(build("a.test", "any").type, 255);
}

static void test_records(void **state) {
  (void)state;
  const char *records[] = {
      "any.test. 60 IN A 192.0.2.1",
      "any.test. 61 IN AAAA 2001:db8::1",
      "any.test. 62 IN CNAME other.test.",
      "any.test. 63 IN MX 10 mail.test.",
      "any.test. 64 IN TXT \"v=spf1 \" \"-all\\027[31m\"",
      "any.test. 65 IN SOA ns.test. admin.test. 4294967295 2 3 4 300",
      "any.test. 66 IN SRV 1 2 443 svc.test.",
      "any.test. 67 IN CAA 128 issue \"ca.test\"",
      "any.test. 68 IN TYPE4242 \\# 2 abcd",
      "=any.test. 69 IN NS ns.test.",
      "+ns.test. 70 IN A 192.0.2.53",
  };
  struct wd_dns_query query = build("any.test", "ANY");
  struct wd_dns_answer got;
  size_t len;
  uint8_t *wire = answer(&query, 0x85b0, &len, records, sizeof records / sizeof records[0]);
  assert_int_equal(wd_dns_parse(&got, &arena, &query, wire, len, error, sizeof error), WD_DNS_OURS);
  free(wire);
  assert_true(got.aa && got.rd && got.ra && got.ad && got.cd && !got.tc);
  assert_string_equal(got.rcode_name, "NOERROR");
  assert_int_equal(got.count, 11);
  assert_int_equal(got.answers, 9);
  assert_int_equal(got.size, len);
  assert_false(got.edns);
  const struct wd_dns_record *r = got.records;
  assert_string_equal(r[0].name, "any.test");
  assert_string_equal(r[0].class, "IN");
  assert_string_equal(r[0].address, "192.0.2.1");
  assert_int_equal(r[0].ttl_s, 60);
  assert_int_equal(r[0].priority, -1);
  assert_null(r[0].target);
  assert_string_equal(r[1].address, "2001:db8::1");
  assert_string_equal(r[2].target, "other.test");
  assert_string_equal(r[2].data, "other.test.");
  assert_int_equal(r[3].priority, 10);
  assert_string_equal(r[3].target, "mail.test");
  assert_string_equal(r[3].data, "10 mail.test.");
  assert_string_equal(r[4].text, "v=spf1 -all\\x1b[31m");
  assert_string_equal(r[5].target, "ns.test");
  assert_true(r[5].serial == 4294967295);
  assert_int_equal(r[5].minimum_s, 300);
  assert_int_equal(r[6].weight, 2);
  assert_int_equal(r[6].port, 443);
  assert_string_equal(r[6].target, "svc.test");
  assert_int_equal(r[7].flags, 128);
  assert_string_equal(r[7].tag, "issue");
  assert_string_equal(r[7].text, "ca.test");
  assert_string_equal(r[8].type, "TYPE4242");
  assert_string_equal(r[8].data, "\\# 2 abcd");
  assert_int_equal(r[9].section, WD_DNS_AUTHORITY);
  assert_int_equal(r[10].section, WD_DNS_ADDITIONAL);
}

static enum wd_err verdict(const char *name, const char *type, uint16_t flags, const char *record) {
  struct wd_dns_query query = build(name, type);
  struct wd_dns_answer got;
  size_t len;
  uint8_t *wire = answer(&query, flags, &len, &record, record ? 1 : 0);
  assert_int_equal(wd_dns_parse(&got, &arena, &query, wire, len, error, sizeof error), WD_DNS_OURS);
  free(wire);
  return wd_dns_err(&got);
}

static void test_verdicts(void **state) {
  (void)state;
  assert_int_equal(verdict("a.test", "A", 0x8180, "a.test. 1 IN A 192.0.2.1"), WD_OK);
  assert_int_equal(verdict("a.test", "A", 0x8180, NULL), WD_E_DNS_NODATA);
  assert_int_equal(verdict("a.test", "AAAA", 0x8180, "a.test. 1 IN CNAME b.test."), WD_E_DNS_NODATA);
  assert_int_equal(verdict("a.test", "CNAME", 0x8180, "a.test. 1 IN CNAME b.test."), WD_OK);
  assert_int_equal(verdict("a.test", "A", 0x8183, "=test. 1 IN SOA a. b. 1 2 3 4 5"), WD_E_DNS_NXDOMAIN);
  assert_int_equal(verdict("a.test", "A", 0x8182, NULL), WD_E_DNS_SERVFAIL);
  assert_int_equal(verdict("a.test", "A", 0x8185, NULL), WD_E_DNS_REFUSED);
  assert_int_equal(verdict("a.test", "A", 0x8181, NULL), WD_E_PROTOCOL);
}

static void test_foreign(void **state) {
  (void)state;
  const char *record = "a.test. 1 IN A 192.0.2.1";
  struct wd_dns_query query = build("a.test", "A"), other = build("b.test", "A"), other_type = build("a.test", "AAAA");
  struct wd_dns_answer got;
  size_t len;
  uint8_t *wire = answer(&query, 0x8180, &len, &record, 1);
  wire[0] ^= 1;
  assert_int_equal(wd_dns_parse(&got, &arena, &query, wire, len, error, sizeof error), WD_DNS_FOREIGN);
  wire[0] ^= 1;
  wire[13] = 'A'; // a server may change the letters' case
  assert_int_equal(wd_dns_parse(&got, &arena, &query, wire, len, error, sizeof error), WD_DNS_OURS);
  wire[2] = 0x01; // our own query, reflected
  assert_int_equal(wd_dns_parse(&got, &arena, &query, wire, len, error, sizeof error), WD_DNS_FOREIGN);
  wire[2] = 0x89; // not opcode QUERY
  assert_int_equal(wd_dns_parse(&got, &arena, &query, wire, len, error, sizeof error), WD_DNS_FOREIGN);
  wire[2] = 0x81;
  other.id = other_type.id = query.id;
  assert_int_equal(wd_dns_parse(&got, &arena, &other, wire, len, error, sizeof error), WD_DNS_FOREIGN);
  assert_int_equal(wd_dns_parse(&got, &arena, &other_type, wire, len, error, sizeof error), WD_DNS_FOREIGN);
  free(wire);

  // A refusal without the question is ours by its id, a success without it is not.
  uint8_t bare[12] = {(uint8_t)(query.id >> 8), (uint8_t)query.id, 0x81, 0x05};
  assert_int_equal(wd_dns_parse(&got, &arena, &query, bare, sizeof bare, error, sizeof error), WD_DNS_OURS);
  assert_int_equal(wd_dns_err(&got), WD_E_DNS_REFUSED);
  bare[3] = 0;
  assert_int_equal(wd_dns_parse(&got, &arena, &query, bare, sizeof bare, error, sizeof error), WD_DNS_FOREIGN);
}

static void test_edns(void **state) {
  (void)state;
  struct wd_dns_query query;
  struct wd_dns_ask ask = {.name = "a.test", .type = "A", .edns_size = 1232, .dnssec = true};
  struct wd_dns_answer got;
  size_t len;
  assert_true(wd_dns_build(&query, &arena, &ask, error, sizeof error));
  uint8_t *wire = answer(&query, 0x8180, &len, NULL, 0);
  wire[len - 6] = 1; // the upper bits of BADVERS, 16
  assert_int_equal(wd_dns_parse(&got, &arena, &query, wire, len, error, sizeof error), WD_DNS_OURS);
  free(wire);
  assert_true(got.edns && got.edns_do);
  assert_int_equal(got.edns_size, 1232);
  assert_int_equal(got.rcode, 16);
  assert_string_equal(got.rcode_name, "BADVERS");
  assert_int_equal(got.count, 0);
}

static void test_cut_and_truncated(void **state) {
  (void)state;
  const char *record = "a.test. 1 IN A 192.0.2.1";
  struct wd_dns_query query = build("a.test", "A");
  struct wd_dns_answer got;
  size_t len;
  uint8_t *wire = answer(&query, 0x8180, &len, &record, 1);
  for (size_t cut = 0; cut < len; cut++) {
    uint8_t *copy = malloc(cut ? cut : 1);
    memcpy(copy, wire, cut);
    assert_int_equal(wd_dns_parse(&got, &arena, &query, copy, cut, error, sizeof error),
                     cut < 24 ? WD_DNS_FOREIGN : WD_DNS_MALFORMED);
    if (cut >= 24) {
      assert_non_null(strstr(error, "the answer is damaged: "));
      copy[2] |= 2;
      assert_int_equal(wd_dns_parse(&got, &arena, &query, copy, cut, error, sizeof error), WD_DNS_OURS);
      assert_true(got.tc);
      assert_int_equal(got.count, 0);
    }
    free(copy);
  }
  free(wire);
}

static void test_many_records_are_bounded(void **state) {
  (void)state;
  enum { MANY = WD_DNS_RECORDS_MAX + 500 };
  const char **records = malloc(MANY * sizeof *records);
  for (int i = 0; i < MANY; i++) records[i] = "a.test. 1 IN A 192.0.2.1";
  struct wd_dns_query query = build("a.test", "A");
  struct wd_dns_answer got;
  size_t len;
  uint8_t *wire = answer(&query, 0x8180, &len, records, MANY);
  assert_int_equal(wd_dns_parse(&got, &arena, &query, wire, len, error, sizeof error), WD_DNS_OURS);
  assert_int_equal(got.count, WD_DNS_RECORDS_MAX);
  assert_int_equal(got.dropped, 500);
  assert_int_equal(got.answers, MANY);
  free(wire);
  free(records);
}

static void test_noise(void **state) {
  (void)state;
  const char *records[] = {"a.test. 1 IN MX 1 b.test.", "a.test. 1 IN TXT \"x\" \"y\"", "a.test. 1 IN CAA 0 issue \"z\"",
                           "a.test. 1 IN SOA a. b. 1 2 3 4 5"};
  struct wd_dns_query query = build("a.test", "ANY");
  size_t len;
  uint8_t *wire = answer(&query, 0x8180, &len, records, 4), *copy = malloc(len);
  srand(1);
  for (int round = 0; round < 20000; round++) {
    struct wd_dns_answer got;
    memcpy(copy, wire, len);
    for (int i = 0; i < 3; i++) copy[24 + (size_t)rand() % (len - 24)] = (uint8_t)rand();
    wd_dns_parse(&got, &arena, &query, copy, len, error, sizeof error);
    if (round % 100 == 0)
      wd_arena_free(&arena), query = build("a.test", "ANY"), wire[0] = (uint8_t)(query.id >> 8), wire[1] = (uint8_t)query.id;
  }
  free(wire);
  free(copy);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_query_bytes),
      cmocka_unit_test(test_ids_are_random),
      cmocka_unit_test(test_reverse),
      cmocka_unit_test(test_bad_questions),
      cmocka_unit_test(test_records),
      cmocka_unit_test(test_verdicts),
      cmocka_unit_test(test_foreign),
      cmocka_unit_test(test_edns),
      cmocka_unit_test(test_cut_and_truncated),
      cmocka_unit_test(test_many_records_are_bounded),
      cmocka_unit_test(test_noise),
  };
  return cmocka_run_group_tests(tests, NULL, tear_down);
}
