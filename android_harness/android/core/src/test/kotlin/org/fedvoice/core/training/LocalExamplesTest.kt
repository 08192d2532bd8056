package org.fedvoice.core.training

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Normalise
import org.fedvoice.core.model.TrainingPlan
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test

/** Stored recordings as examples: what the task cannot use is counted with its reason. */
class LocalExamplesTest {
    private class Stored(
        override val id: Long,
        override val transcript: String,
        override val samples: Int = 700,
        override val sampleRate: Int = 16000,
        override val testing: Boolean = false,
    ) : Recording {
        override val where = "recording $id"
    }

    private val engine = TinyEngine()
    private var reads = 0

    private fun sound(recording: Stored): FloatArray {
        reads += 1
        return FloatArray(recording.samples) { (it % 7).toFloat() }
    }

    private fun examples(vararg recordings: Stored, cache: FeatureCache = FeatureCache()) =
        LocalExamples(engine, recordings.toList(), cache, ::sound)

    @Test
    fun `recordings that the task cannot use are left out without being read`() {
        val found =
            examples(
                Stored(1, "yes"),
                Stored(2, "perhaps"),
                Stored(3, "no", sampleRate = 4000),
                Stored(4, "yes no"),
                Stored(5, "no", samples = 511),
                Stored(6, ""),
                Stored(7, "maybe"),
            )
        assertEquals(1, found.size)
        assertEquals(6, found.skipped)
        assertEquals(1, found.usage.used)
        assertEquals(
            mapOf(
                "unknown-token" to LeftOut(2, "recording 2"),
                "wrong-sample-rate" to LeftOut(1, "recording 3"),
                "too-many-tokens" to LeftOut(1, "recording 4"),
                "too-short" to LeftOut(1, "recording 5"),
                "empty-transcript" to LeftOut(1, "recording 6"),
            ),
            found.usage.leftOut,
        )
        assertEquals(0, reads)
        assertArrayEquals(intArrayOf(2), found[0].targets)
        assertEquals(2, found[0].frames)
        assertEquals(1, reads)
    }

    @Test
    fun `words that the task lacks are references of tests and never targets`() {
        val found = examples(Stored(1, "Yes PERHAPS", testing = true), Stored(2, "perhaps"))
        assertEquals(1, found.size)
        assertEquals("yes perhaps", found[0].text)
        assertEquals(0, found[0].targets.size)
        assertEquals(2, evaluate(engine, found, FloatArray(12))?.words)
    }

    @Test
    fun `sound that is damaged is an error that training skips`() {
        val found =
            LocalExamples(engine, listOf(Stored(1, "yes")), FeatureCache()) {
                FloatArray(700).also { it[3] = Float.NaN }
            }
        val error = assertThrows(FedvoiceException::class.java) { found[0] }
        assertEquals(ErrorCode.NOT_FINITE, error.code)
        val result = train(engine, found, TrainingPlan(), FloatArray(12), "a", 1)
        assertEquals(TrainingStatus.NO_EXAMPLES, result.status)
        assertEquals(1, result.statistics.skippedExamples)
    }

    @Test
    fun `the cache holds the examples used last within its bytes`() {
        val example = Example(FloatArray(10), 5, intArrayOf(1))
        val cache = FeatureCache(maxBytes = 100)
        cache.put(1, example)
        cache.put(2, example)
        assertNotNull(cache.get(1))
        cache.put(3, example)
        assertNull(cache.get(2))
        assertEquals(80, cache.heldBytes)
        cache.put(1, example)
        assertEquals(80, cache.heldBytes)
        cache.put(4, Example(FloatArray(30), 15, intArrayOf(1)))
        assertEquals(0, cache.heldBytes)
    }

    @Test
    fun `a waveform is given as it is, or without mean and with unit variance`() {
        val waveform = FloatArray(100) { 0.5f + 0.25f * (it % 3) }
        assertSame(waveform, normaliseWaveform(waveform, Normalise.NONE))
        val normal = normaliseWaveform(waveform, Normalise.UTTERANCE)
        assertEquals(0.0, normal.average(), 1e-6)
        assertEquals(1.0, normal.map { it * it }.average(), 1e-4)
        val constant = normaliseWaveform(FloatArray(8) { 0.5f }, Normalise.UTTERANCE)
        assertArrayEquals(FloatArray(8), constant)
    }

    @Test
    fun `features have no mean and unit deviation, silence stays finite`() {
        val mel = FloatArray(40) { (it * it % 11).toFloat() }
        val normal = normaliseFeatures(mel, 4)
        for (bin in 0 until 4) {
            val mean = normal.filterIndexed { i, _ -> i % 4 == bin }.average()
            assertEquals(0.0, mean, 1e-6)
        }
        assertEquals(1.0, normal.map { it * it }.average(), 1e-5)
        assertArrayEquals(FloatArray(8), normaliseFeatures(FloatArray(8) { -3f }, 4))
    }
}
