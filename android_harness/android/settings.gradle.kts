// For Android Studio: not run by this project's own build and CI, which are Maven's (docs/android.md).
pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}
dependencyResolutionManagement {
    repositories {
        google()
        mavenCentral()
    }
}
rootProject.name = "fedvoice-android"
include(":wire", ":core", ":transport", ":engine", ":sdk", ":app")
