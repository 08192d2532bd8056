"""The dictation app as an APK: built, shrunk, aligned, signed and checked by Debian's tools."""
