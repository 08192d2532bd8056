package org.fedvoice.sdk

import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.annotation.Config
import java.io.File

/**
 * What `FedVoice.start` costs the thread that calls it, in a JVM on this machine: not a phone's time.
 *
 * Run by `python -m benchmarks.android_phone`, not with the tests; writes target/start_ms.txt.
 */
@Config(sdk = [34])
class StartBench : SdkTest() {
    @Test
    fun `a start, many times`() {
        agree()
        val millis =
            List(STARTS) {
                FedVoice.forget()
                val began = System.nanoTime()
                FedVoice.start(app)
                (System.nanoTime() - began) / 1e6
            }
        assertTrue(millis.all { it > 0 })
        // The first one loads classes; the rest are what a start does.
        File("target/start_ms.txt").writeText("${millis.first()} ${millis.sorted()[STARTS / 2]}")
    }

    private companion object {
        const val STARTS = 51
    }
}
