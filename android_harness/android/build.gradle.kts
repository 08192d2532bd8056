plugins {
    id("com.android.application") version "8.13.0" apply false
    id("com.android.library") version "8.13.0" apply false
    kotlin("android") version "2.2.20" apply false
    kotlin("jvm") version "2.2.20" apply false
    kotlin("plugin.serialization") version "2.2.20" apply false
    id("com.google.protobuf") version "0.9.5" apply false
}

// The versions of pom.xml, which is the build that is tested.
extra["coroutines"] = "1.10.2"
extra["serialization"] = "1.9.0"
extra["grpc"] = "1.82.2"
extra["protobuf"] = "4.36.2"
extra["zstd"] = "1.5.7-6"
extra["executorch"] = "1.3.0"
