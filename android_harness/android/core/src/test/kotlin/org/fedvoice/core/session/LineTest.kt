package org.fedvoice.core.session

import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File

class LineTest {
    @TempDir
    lateinit var directory: File

    @Test
    fun `a rate is smoothed and grows old`() {
        val second = Rate().after(MEGABYTE, 10.0, 1000.0).after(MEGABYTE, 5.0, 2000.0)
        assertEquals(150_000, second.known(2000.0))
        assertEquals(0, second.known(2001.0 + Rate.KEPT_SECS))
        assertEquals(second, second.after(1000, 10.0, 2000.0))
    }

    @Test
    fun `chunks come to suit the line`() {
        val wanted = mapOf(12_500 to 16_384..16_384, 125_000 to 16_384..32_768)
        for ((bytesPerSec, sizes) in wanted) {
            val chunks = Chunks(0)
            // The buffers take the first bytes at once, however slow the line is.
            repeat(3) { chunks.took(chunks.size, 0.0) }
            repeat(50) {
                // Two at a time.
                chunks.took(chunks.size, 0.0)
                chunks.took(chunks.size, 2.0 * chunks.size / bytesPerSec)
            }
            assertTrue(chunks.size in sizes, "${chunks.size} at $bytesPerSec")
        }
        assertEquals(Chunks.LARGEST_BYTES, Chunks.sizeFor(1e9))
        assertEquals(Chunks.LARGEST_BYTES, Chunks.sizeFor(Double.MAX_VALUE))
        assertTrue(Chunks.LARGEST_BYTES + 100 < 1 shl 20)
    }

    @Test
    fun `a line is remembered over sessions`() {
        val file = File(directory, "line")
        val clock = HandClock()
        Line(file, clock).note(Way.UP, MEGABYTE, 10.0)
        assertEquals(100_000, Line(file, clock).bytesPerSec(Way.UP))
        assertEquals(0, Line(file, clock).bytesPerSec(Way.DOWN))
        clock.pass(Rate.KEPT_SECS + 1)
        assertEquals(0, Line(file, clock).bytesPerSec(Way.UP))
        file.writeText("[1]")
        assertEquals(0, Line(file, clock).bytesPerSec(Way.UP))
    }

    @Test
    fun `a slow call that moves is let be, a silent one is broken off`() {
        val done =
            runBlocking {
                unlessSilent(0.5) { moved ->
                    repeat(10) {
                        delay(100)
                        moved()
                    }
                    "done"
                }
            }
        assertEquals("done", done)
        val failure =
            assertThrows<CallFailure> {
                runBlocking { unlessSilent(0.1) { awaitCancellation() } }
            }
        assertEquals(FailureKind.TRANSIENT, failure.kind)
        val own = assertThrows<CallFailure> { runBlocking { unlessSilent(9.0) { throw failure } } }
        assertEquals(failure.text, own.text)
    }

    private companion object {
        const val MEGABYTE = 1_000_000L
    }
}
