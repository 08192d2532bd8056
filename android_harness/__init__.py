"""Android: deployment over adb, the APK, emulated devices, the Kotlin phone (`android/`)."""
