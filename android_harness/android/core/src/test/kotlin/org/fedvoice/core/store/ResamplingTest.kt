package org.fedvoice.core.store

import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.min
import kotlin.math.pow
import kotlin.math.sin

/** Held to soxr, with which the Python phone resamples (`tests/android/resampling_vectors.py`). */
class ResamplingTest {
    @Serializable
    private class Vector(val rate: Int, val wanted: Int, val samples: List<Float>)

    private val vectors: List<Vector> =
        Json.decodeFromString(
            checkNotNull(javaClass.getResource("/resampling.json")).readText(),
        )

    @Test
    fun `every usual rate comes out as soxr has it`() {
        assertEquals(11, vectors.size)
        for (vector in vectors) {
            val found = resampled(tones(vector.rate, vector.wanted), vector.rate, vector.wanted)
            val worst = found.zip(vector.samples).maxOf { (a, b) -> abs(a - b) }
            assertEquals(vector.samples.size, found.size)
            assertTrue(worst < 1e-4, "${vector.rate} to ${vector.wanted}: off by $worst")
        }
    }

    @Test
    fun `what the lower rate cannot carry is gone, not folded`() {
        val hum = FloatArray(48000) { sin(2 * PI * 9000 * it / 48000).toFloat() }
        val found = resampled(hum, 48000, 16000)
        assertTrue(found.slice(1000 until 15000).all { abs(it) < 2e-5 })
    }

    @Test
    fun `pieces come out as the whole does, bit for bit`() {
        for (vector in vectors + Vector(16000, 16000, emptyList())) {
            val whole = tones(vector.rate, vector.wanted)
            for (size in listOf(1, 7, 333, whole.size)) {
                val resampler = Resampler(vector.rate, vector.wanted)
                val pieces = whole.toList().chunked(size).map { it.toFloatArray() }
                val found = pieces.flatMap { resampler.accept(it).toList() }
                assertArrayEquals(
                    resampled(whole, vector.rate, vector.wanted),
                    found.toFloatArray() + resampler.finish(),
                )
            }
        }
    }

    @Test
    fun `a recording at the task's rate is not touched`() {
        val waveform = floatArrayOf(0.5f, -0.25f)
        assertSame(waveform, resampled(waveform, 16000, 16000))
        assertArrayEquals(FloatArray(0), resampled(FloatArray(0), 48000, 16000))
    }

    /** As `tones` in the script. */
    private fun tones(rate: Int, wanted: Int): FloatArray {
        val count = (rate * 0.04).toInt()
        val lower = min(rate, wanted)
        val parts = listOf(0.05, 0.2, 0.4) + listOf(0.6).filter { it * lower < 0.5 * rate }
        return FloatArray(count) { n ->
            val sound = parts.sumOf { 0.2 * sin(2 * PI * it * lower * n / rate) }
            (sound * sin(PI * (n + 0.5) / count).pow(2)).toFloat()
        }
    }
}
