/* What Android's libc has and glibc has not, or has otherwise: the parts of bionic that
 * libexecutorch.so and its companions import. Every function here is called b_NAME; standins.py
 * routes the import NAME to it and every other import straight to glibc. x86_64 only. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Standard streams. Android before M exported the array __sF of 152-byte FILEs instead of
 * pointers, and old objects still take addresses inside it. */
enum { BIONIC_FILE_BYTES = 152 };
FILE *b_stdin, *b_stdout, *b_stderr;
char b___sF[3 * BIONIC_FILE_BYTES] __attribute__((aligned(16)));

__attribute__((constructor)) static void set_streams(void) {
  b_stdin = stdin;
  b_stdout = stdout;
  b_stderr = stderr;
}

static FILE *stream(void *file) {
  uintptr_t offset = (uintptr_t)file - (uintptr_t)b___sF;
  if (offset >= sizeof b___sF) return file;
  FILE *const streams[] = {stdin, stdout, stderr};
  return streams[offset / BIONIC_FILE_BYTES];
}

size_t b_fwrite(const void *data, size_t size, size_t count, void *file) {
  return fwrite(data, size, count, stream(file));
}
size_t b_fread(void *data, size_t size, size_t count, void *file) {
  return fread(data, size, count, stream(file));
}
int b_fflush(void *file) { return fflush(file ? stream(file) : NULL); }
int b_fputc(int character, void *file) { return fputc(character, stream(file)); }
int b_fputs(const char *text, void *file) { return fputs(text, stream(file)); }
int b_getc(void *file) { return getc(stream(file)); }
int b_ungetc(int character, void *file) { return ungetc(character, stream(file)); }
int b_vfprintf(void *file, const char *format, va_list arguments) {
  return vfprintf(stream(file), format, arguments);
}
int b_fprintf(void *file, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int written = vfprintf(stream(file), format, arguments);
  va_end(arguments);
  return written;
}

/* Other names for what glibc has. */
int *b___errno(void) { return &errno; }
extern int __xpg_strerror_r(int, char *, size_t);
int b_strerror_r(int number, char *text, size_t size) {
  return __xpg_strerror_r(number, text, size);
}
char *b___gnu_strerror_r(int number, char *text, size_t size) {
  return strerror_r(number, text, size);
}
void b___assert2(const char *file, int line, const char *function, const char *message) {
  fprintf(stderr, "%s:%d: %s: assertion \"%s\" failed\n", file, line, function, message);
  abort();
}

/* The checked variants of _FORTIFY_SOURCE; the last argument is the size the compiler knows. */
char *b___strchr_chk(const char *text, int character, size_t size) {
  (void)size;
  return strchr(text, character);
}
char *b___strrchr_chk(const char *text, int character, size_t size) {
  (void)size;
  return strrchr(text, character);
}
size_t b___strlen_chk(const char *text, size_t size) {
  (void)size;
  return strlen(text);
}
ssize_t b___write_chk(int descriptor, const void *data, size_t count, size_t size) {
  (void)size;
  return write(descriptor, data, count);
}

/* Android's own services: no properties are set here, an abort message goes to the log. */
int b___system_property_get(const char *name, char *value) {
  (void)name;
  value[0] = 0;
  return 0;
}
void b_android_set_abort_message(const char *message) {
  fprintf(stderr, "abort message: %s\n", message);
}

/* The same function with other numbers. */
long b_sysconf(int name) {
  switch (name) {
    case 0x27: /* _SC_PAGESIZE */
    case 0x28: /* _SC_PAGE_SIZE */
      return sysconf(_SC_PAGESIZE);
    case 0x60:
      return sysconf(_SC_NPROCESSORS_CONF);
    case 0x61:
      return sysconf(_SC_NPROCESSORS_ONLN);
    case 0x62:
      return sysconf(_SC_PHYS_PAGES);
    case 0x63:
      return sysconf(_SC_AVPHYS_PAGES);
    default:
      fprintf(stderr, "bionic stand-in: sysconf(0x%x) is not known\n", name);
      errno = EINVAL;
      return -1;
  }
}

/* The same function with another layout: bionic's sigset_t has 8 bytes, glibc's has 128. */
int b_sigfillset(uint64_t *set) {
  *set = ~UINT64_C(0);
  return 0;
}
int b_pthread_sigmask(int how, const uint64_t *wanted, uint64_t *before) {
  sigset_t new_set, old_set;
  sigemptyset(&new_set);
  sigemptyset(&old_set);
  if (wanted) memcpy(&new_set, wanted, sizeof *wanted);
  int status = pthread_sigmask(how, wanted ? &new_set : NULL, before ? &old_set : NULL);
  if (before) memcpy(before, &old_set, sizeof *before);
  return status;
}

/* long double has 128 bits on Android and 80 here: refused rather than computed wrongly. */
static void refuse(const char *name) {
  fprintf(stderr, "bionic stand-in: %s is not provided\n", name);
  abort();
}
void b_frexpl(void) { refuse("frexpl"); }
void b_ldexpl(void) { refuse("ldexpl"); }
void b_strtold(void) { refuse("strtold"); }
void b_strtold_l(void) { refuse("strtold_l"); }
void b_wcstold(void) { refuse("wcstold"); }
