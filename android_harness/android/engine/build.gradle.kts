plugins {
    id("com.android.library")
    kotlin("android")
}

android {
    namespace = "org.fedvoice.engine"
    compileSdk = 35
    defaultConfig {
        minSdk = 28
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
}

kotlin { compilerOptions { jvmTarget.set(org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_11) } }

val executorch: String by rootProject.extra

dependencies {
    api(project(":core"))
    // The official artifact, natives included.
    implementation("org.pytorch:executorch-android:$executorch")
}
