// bare_http URL COUNT IN-FLIGHT: COUNT cold GETs, so many of them at a time: curl_multi_perform and curl_multi_poll, a fresh handle and a connection
// of its own for each. Counts those that were answered with 200.
#include "bare.h"

#include <curl/curl.h>

static size_t on_body(char *data, size_t size, size_t n, void *user) {
  (void)data;
  (void)user;
  return size * n;
}

static void begin(CURLM *multi, const char *url) {
  CURL *easy = curl_easy_init();
  bare_must(easy != NULL, "curl_easy_init");
  curl_easy_setopt(easy, CURLOPT_URL, url);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
  curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_multi_add_handle(multi, easy);
}

static int end(CURLM *multi, CURL *easy, CURLcode result) {
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  curl_multi_remove_handle(multi, easy);
  curl_easy_cleanup(easy);
  return result == CURLE_OK && status == 200;
}

int main(int argc, char **argv) {
  bare_usage(argc == 4, "bare_http URL COUNT IN-FLIGHT");
  long count = bare_number(argv[2], 1), in_flight = bare_number(argv[3], 1);
  long begun = 0, ended = 0, answered = 0;
  curl_global_init(CURL_GLOBAL_DEFAULT);
  CURLM *multi = curl_multi_init();
  while (ended < count) {
    while (begun < count && begun - ended < in_flight) {
      begin(multi, argv[1]);
      begun++;
    }
    int running, left;
    bare_must(curl_multi_perform(multi, &running) == CURLM_OK, "curl_multi_perform");
    for (CURLMsg *message; (message = curl_multi_info_read(multi, &left));) {
      if (message->msg != CURLMSG_DONE) continue;
      answered += end(multi, message->easy_handle, message->data.result);
      ended++;
    }
    if (running > 0) bare_must(curl_multi_poll(multi, NULL, 0, 1000, NULL) == CURLM_OK, "curl_multi_poll");
  }
  curl_multi_cleanup(multi);
  curl_global_cleanup();
  printf("{\"count\": %ld}\n", answered);
  return 0;
}
