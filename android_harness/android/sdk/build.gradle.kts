plugins {
    id("com.android.library")
    kotlin("android")
}

android {
    namespace = "org.fedvoice.sdk"
    compileSdk = 35
    defaultConfig {
        minSdk = 28
        consumerProguardFiles("consumer-rules.pro")
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
}

kotlin { compilerOptions { jvmTarget.set(org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_11) } }

val zstd: String by rootProject.extra

dependencies {
    api(project(":core"))
    implementation(project(":transport"))
    implementation(project(":engine"))
    implementation("com.github.luben:zstd-jni:$zstd@aar")
}
