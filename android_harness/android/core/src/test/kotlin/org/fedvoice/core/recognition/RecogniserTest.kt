package org.fedvoice.core.recognition

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Bucket
import org.fedvoice.core.model.FeatureKind
import org.fedvoice.core.model.FeatureSettings
import org.fedvoice.core.model.Normalise
import org.fedvoice.core.training.Engine
import org.fedvoice.core.training.TinyEngine
import org.fedvoice.core.training.normaliseWaveform
import org.fedvoice.core.training.tinyManifest
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test

/** What a model that is given the waveform itself hears of one utterance. */
class RecogniserTest {
    private class OnSamples : Engine by TinyEngine() {
        override val manifest =
            tinyManifest(8 to 2).copy(
                features =
                    FeatureSettings(
                        fftSize = 1,
                        windowSamples = 1,
                        hopSamples = 1,
                        melBins = 1,
                        stack = 1,
                        kind = FeatureKind.WAVEFORM,
                        normalise = Normalise.UTTERANCE,
                    ),
            )
        var heard = FloatArray(0)
        var counts = LongArray(0)

        override fun decode(
            bucket: Bucket,
            weights: FloatArray,
            features: FloatArray,
            frameCounts: LongArray,
        ): List<IntArray> {
            heard = features
            counts = frameCounts
            return listOf(intArrayOf(2), IntArray(0))
        }
    }

    @Test
    fun `samples are normalised and padded to the bucket`() {
        val engine = OnSamples()
        val sound = floatArrayOf(0.1f, -0.2f, 0.4f, 0.3f, 0f)
        assertEquals("yes", Recogniser(engine, FloatArray(12)).transcribe(sound))
        val normal = normaliseWaveform(sound, Normalise.UTTERANCE)
        assertArrayEquals(normal.copyOf(8) + FloatArray(8), engine.heard)
        assertArrayEquals(longArrayOf(5, 1), engine.counts)
    }

    @Test
    fun `a recording longer than every bucket is refused`() {
        val recogniser = Recogniser(OnSamples(), FloatArray(12))
        val sound = FloatArray(9)
        val error = assertThrows(FedvoiceException::class.java) { recogniser.transcribe(sound) }
        assertEquals(ErrorCode.WRONG_SHAPE, error.code)
    }
}
