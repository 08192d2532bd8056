plugins {
    `java-library`
    id("com.google.protobuf")
}

java {
    sourceCompatibility = JavaVersion.VERSION_11
    targetCompatibility = JavaVersion.VERSION_11
}

val grpc: String by rootProject.extra
val protobuf: String by rootProject.extra

dependencies {
    api("com.google.protobuf:protobuf-javalite:$protobuf")
    api("io.grpc:grpc-stub:$grpc")
    api("io.grpc:grpc-protobuf-lite:$grpc")
}

// The only definition of the messages.
sourceSets.main { proto.srcDir("../../../protocol") }

protobuf {
    protoc { artifact = "com.google.protobuf:protoc:$protobuf" }
    plugins { create("grpc") { artifact = "io.grpc:protoc-gen-grpc-java:$grpc" } }
    generateProtoTasks {
        all().configureEach {
            builtins { named("java") { option("lite") } }
            plugins {
                create("grpc") {
                    option("lite")
                    option("@generated=omit")
                }
            }
        }
    }
}
