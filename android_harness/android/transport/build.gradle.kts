plugins { kotlin("jvm") }

kotlin { compilerOptions { jvmTarget.set(org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_11) } }

java {
    sourceCompatibility = JavaVersion.VERSION_11
    targetCompatibility = JavaVersion.VERSION_11
}

val grpc: String by rootProject.extra

dependencies {
    api(project(":core"))
    implementation("io.grpc:grpc-okhttp:$grpc")
}
