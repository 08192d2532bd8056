/* Android's logger, to stderr: "I/tag: message". */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char LEVELS[] = "..VDIWEF";

int __android_log_write(int level, const char *tag, const char *message) {
  return fprintf(stderr, "%c/%s: %s\n", LEVELS[level & 7], tag ? tag : "", message);
}
int __android_log_vprint(int level, const char *tag, const char *format, va_list arguments) {
  char message[1024];
  vsnprintf(message, sizeof message, format, arguments);
  return __android_log_write(level, tag, message);
}
int __android_log_print(int level, const char *tag, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int written = __android_log_vprint(level, tag, format, arguments);
  va_end(arguments);
  return written;
}
void __android_log_assert(const char *condition, const char *tag, const char *format, ...) {
  if (format) {
    va_list arguments;
    va_start(arguments, format);
    __android_log_vprint(7, tag, format, arguments);
    va_end(arguments);
  } else {
    __android_log_write(7, tag, condition);
  }
  abort();
}
