/* Loaded first by a JVM (System.load), this brings in Android's libraries from its own folder so
 * that they bind to each other and not to what the JVM has exported (Debian's OpenJDK exports its
 * libstdc++). Run with LD_LIBRARY_PATH set to that folder, for what they need themselves.
 *
 * libexecutorch.so must be the root of the load and bring in libfbjni.so: opened the other way
 * round, libfbjni binds to libc++_shared while libexecutorch has its C++ runtime inside, and every
 * native error aborts the process instead of becoming a Java exception. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

__attribute__((constructor)) static void load_android_libraries(void) {
  Dl_info own;
  char path[4096];
  if (!dladdr((void *)load_android_libraries, &own)) return;
  if (!strchr(own.dli_fname, '/') || strlen(own.dli_fname) > sizeof path - 64) {
    fprintf(stderr, "deepbind: load me by an absolute path\n");
    return;
  }
  strcpy(path, own.dli_fname);
  char *name = strrchr(path, '/') + 1;
  const char *libraries[] = {"libc.so",      "libm.so",       "libdl.so",        "liblog.so",
                             "libandroid.so", "libexecutorch.so"};
  for (unsigned i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    strcpy(name, libraries[i]);
    if (!dlopen(path, RTLD_NOW | RTLD_DEEPBIND)) fprintf(stderr, "deepbind: %s\n", dlerror());
  }
}
