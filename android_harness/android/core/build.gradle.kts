plugins {
    kotlin("jvm")
    kotlin("plugin.serialization")
}

kotlin { compilerOptions { jvmTarget.set(org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_1_8) } }

java {
    sourceCompatibility = JavaVersion.VERSION_1_8
    targetCompatibility = JavaVersion.VERSION_1_8
}

val coroutines: String by rootProject.extra
val serialization: String by rootProject.extra
val zstd: String by rootProject.extra

dependencies {
    api(project(":wire"))
    api("org.jetbrains.kotlinx:kotlinx-coroutines-core:$coroutines")
    implementation("org.jetbrains.kotlinx:kotlinx-serialization-json:$serialization")
    // An Android app takes the AAR, which carries the natives: see sdk/build.gradle.kts.
    compileOnly("com.github.luben:zstd-jni:$zstd")
}
