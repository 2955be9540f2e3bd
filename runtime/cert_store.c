// Trusted certificates, read once and shared, see cert.h. The cache is the one global of the cert files; only the loop's thread uses it.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "cert_x509.h"
#include "text.h"

enum { SLOTS = 8, FILE_MAX_BYTES = 16 << 20, FOLDER_MAX_FILES = 4096 };

static const char system_bundle[] = "/etc/ssl/certs/ca-certificates.crt";

// What tells whether a file was changed behind our back; all zero for PEM text.
struct stamp {
  dev_t dev;
  ino_t ino;
  off_t size;
  struct timespec changed;
};

static struct slot {
  char *key; // the path or the PEM text; NULL: empty
  struct stamp stamp;
  X509_STORE *store;
  uint64_t used_at;
} slots[SLOTS];

static uint64_t uses;

static bool same_stamp(const struct stamp *a, const struct stamp *b) {
  return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
      a->changed.tv_nsec == b->changed.tv_nsec;
}

// Adds every certificate of the PEM (or, with none, of the single DER) in `bytes`; the number added, -1 when memory is out.
static int add_bytes(X509_STORE *store, const char *bytes, size_t len) {
  int added = 0;
  X509 *cert;
  BIO *bio = BIO_new_mem_buf(bytes, (int)len);
  if (!bio) return -1;
  // The _AUX form also reads the "TRUSTED CERTIFICATE" blocks that openssl x509 -trustout writes.
  while ((cert = PEM_read_bio_X509_AUX(bio, NULL, NULL, (void *)""))) {
    added += X509_STORE_add_cert(store, cert);
    X509_free(cert);
  }
  BIO_free(bio);
  const unsigned char *der = (const unsigned char *)bytes;
  if (added == 0 && (cert = d2i_X509(NULL, &der, (long)len))) {
    added = X509_STORE_add_cert(store, cert);
    X509_free(cert);
  }
  ERR_clear_error();
  return added;
}

// As add_bytes; -1 with errno when the file cannot be read.
static int add_file(X509_STORE *store, const char *path) {
  struct stat st;
  int added = -1;
  char *bytes = NULL;
  FILE *file = fopen(path, "re");
  if (!file) return -1;
  if (fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_MAX_BYTES &&
      (bytes = malloc((size_t)st.st_size + 1))) {
    size_t len = fread(bytes, 1, (size_t)st.st_size, file);
    bytes[len] = '\0';
    added = add_bytes(store, bytes, len);
  } else {
    errno = EFBIG;
  }
  free(bytes);
  fclose(file);
  return added;
}

static bool is_certificate_file(const char *name) {
  const char *dot = strrchr(name, '.');
  return name[0] != '.' && dot && (!strcmp(dot, ".pem") || !strcmp(dot, ".crt") || !strcmp(dot, ".cer") || !strcmp(dot, ".0"));
}

static int add_folder(X509_STORE *store, const char *path) {
  int added = 0, files = 0;
  struct dirent *entry;
  DIR *dir = opendir(path);
  if (!dir) return -1;
  while ((entry = readdir(dir)) && files < FOLDER_MAX_FILES) {
    char file[4096];
    if (!is_certificate_file(entry->d_name) || snprintf(file, sizeof file, "%s/%s", path, entry->d_name) >= (int)sizeof file)
      continue;
    files++;
    int n = add_file(store, file);
    added += n > 0 ? n : 0;
  }
  closedir(dir);
  return added;
}

// The slot to fill: the one of this key, an empty one, or the one unused for longest.
static struct slot *slot_for(const char *key) {
  struct slot *best = &slots[0];
  for (int i = 0; i < SLOTS; i++) {
    if (slots[i].key && strcmp(slots[i].key, key) == 0) return &slots[i];
    if (best->key && (!slots[i].key || slots[i].used_at < best->used_at)) best = &slots[i];
  }
  return best;
}

static void empty(struct slot *slot) {
  X509_STORE_free(slot->store);
  free(slot->key);
  *slot = (struct slot){0};
}

X509_STORE *wd_cert_store(const char *ca, char *error, size_t error_size) {
  const char *from_env = getenv("SSL_CERT_FILE");
  const char *key = ca ? ca : from_env && *from_env ? from_env : system_bundle;
  bool is_text = strstr(key, "-----BEGIN") != NULL;
  struct stat st = {0};
  char shown[160];

  wd_text_escape(shown, sizeof shown, is_text ? "the given PEM text" : key, strlen(is_text ? "the given PEM text" : key));
  if (!is_text && stat(key, &st) < 0) {
    const char *advice = ca     ? "give the path of a PEM file or folder"
        : from_env && *from_env ? "correct SSL_CERT_FILE"
                                : "install ca-certificates or set SSL_CERT_FILE";
    snprintf(error, error_size, "no CA certificates: %s: %s; %s", shown, strerror(errno), advice);
    return NULL;
  }
  struct stamp stamp = {st.st_dev, st.st_ino, st.st_size, st.st_mtim};
  struct slot *slot = slot_for(key);
  if (!slot->key || strcmp(slot->key, key) != 0 || !same_stamp(&slot->stamp, &stamp)) {
    X509_STORE *store = X509_STORE_new();
    char *copy = strdup(key);
    int added = !store || !copy ? -1
        : is_text               ? add_bytes(store, key, strlen(key))
        : S_ISDIR(st.st_mode)   ? add_folder(store, key)
                                : add_file(store, key);
    if (added <= 0) {
      snprintf(error, error_size, "no CA certificates in %s: %s", shown,
               added < 0 ? strerror(errno) : "expected one or more blocks of -----BEGIN CERTIFICATE-----");
      X509_STORE_free(store);
      free(copy);
      return NULL;
    }
    empty(slot);
    slot->key = copy;
    slot->stamp = stamp;
    slot->store = store;
  }
  slot->used_at = ++uses;
  X509_STORE_up_ref(slot->store);
  return slot->store;
}

void wd_cert_store_release(X509_STORE *store) {
  X509_STORE_free(store);
}

void wd_cert_store_forget(void) {
  for (int i = 0; i < SLOTS; i++) empty(&slots[i]);
}
