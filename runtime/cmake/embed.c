// The generator of build/gen/embed.c: turns files into the table that runtime/embed.h declares.
// usage: embed OUTPUT [NAME=PATH]...   A name is what the runtime looks up, e.g. lua/waddle/json.lua.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *path)
{
  fprintf(stderr, "embed: %s: %s\n", path, strerror(errno));
  return 1;
}

// Octal escapes of three digits never run into the character behind them, hexadecimal ones would.
static void write_bytes(FILE *out, FILE *in)
{
  int column = 0, c;
  fputs("  \"", out);
  while ((c = getc(in)) != EOF) {
    if (c == '"' || c == '\\' || c == '?')
      column += fprintf(out, "\\%c", c);
    else if (c >= ' ' && c <= '~')
      column += fprintf(out, "%c", c);
    else
      column += fprintf(out, "\\%03o", (unsigned)c);
    if (column >= 120 || c == '\n') {
      fputs("\"\n  \"", out);
      column = 0;
    }
  }
  fputs("\";\n", out);
}

static int embed_one(FILE *out, int index, const char *path)
{
  FILE *in = fopen(path, "rb");
  if (!in)
    return fail(path);
  fprintf(out, "static const unsigned char file_%d[] =\n", index);
  write_bytes(out, in);
  int broken = ferror(in);
  fclose(in);
  return broken ? fail(path) : 0;
}

int main(int argc, char **argv)
{
  if (argc < 2) {
    fprintf(stderr, "usage: embed OUTPUT [NAME=PATH]...\n");
    return 2;
  }
  FILE *out = fopen(argv[1], "w");
  if (!out)
    return fail(argv[1]);
  fputs("// made by runtime/cmake/embed.c\n#include \"runtime/embed.h\"\n\n", out);
  for (int i = 2; i < argc; i++) {
    char *path = strchr(argv[i], '=');
    if (!path) {
      fprintf(stderr, "embed: expected NAME=PATH, got '%s'\n", argv[i]);
      return 2;
    }
    *path++ = 0;
    if (embed_one(out, i, path))
      return 1;
  }
  fputs("\nconst struct wd_embed_file wd_embed_files[] = {\n", out);
  for (int i = 2; i < argc; i++)
    fprintf(out, "  {\"%s\", file_%d, sizeof file_%d - 1},\n", argv[i], i, i);
  fputs("  {0},\n};\n", out);
  if (fclose(out))
    return fail(argv[1]);
  return 0;
}
