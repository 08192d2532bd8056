package org.fedvoice.core.recognition

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.store.resampled
import org.fedvoice.core.training.Engine
import org.fedvoice.core.training.checkRate
import org.fedvoice.core.training.inputsOf
import java.io.Closeable

/**
 * Recognition with a trained model: the program's greedy decoding, one utterance at a time.
 *
 * @param weights the model [P]
 */
class Recogniser(private val engine: Engine, private val weights: FloatArray) : Closeable {
    /** Samples a second that [transcribe] takes. */
    val sampleRate: Int get() = engine.manifest.features.sampleRate

    /**
     * What was said.
     *
     * @param recorded [samples] in +-1
     * @param rate of it in Hz: usual ones are resampled to the task's
     * @throws FedvoiceException `wrong-shape` if it is shorter than one frame or longer than every
     *   length the task was exported for; `wrong-sample-rate`
     */
    @Synchronized
    fun transcribe(recorded: FloatArray, rate: Int = sampleRate): String {
        val manifest = engine.manifest
        val settings = manifest.features
        checkRate(rate, settings, "recognition")
        val waveform = resampled(recorded, rate, sampleRate)
        val features = engine.inputsOf(waveform)
        val frames = features.size / settings.melBins
        val stacked = settings.stackedFrames(frames)
        val bucket = manifest.bucketFor(stacked, labels = 0) ?: throw tooLong(waveform.size)
        val input = FloatArray(bucket.batch * bucket.frames * settings.stack * settings.melBins)
        features.copyInto(input)
        // Rows that hold nobody's speech have one frame, as in training.
        val counts = LongArray(bucket.batch) { if (it == 0) stacked.toLong() else 1 }
        val ids = engine.decode(bucket, weights, input, counts).first()
        return manifest.vocabulary.decode(ids)
    }

    override fun close() = engine.close()

    private fun tooLong(samples: Int): FedvoiceException {
        val settings = engine.manifest.features
        val mostFrames =
            engine.manifest.buckets
                .last()
                .frames * settings.stack
        val mostSecs = mostFrames * settings.hopSamples / settings.sampleRate.toDouble()
        return FedvoiceException(
            ErrorCode.WRONG_SHAPE,
            where = "recognition",
            got = "%.1f s of speech".format(samples / settings.sampleRate.toDouble()),
            wanted = "at most %.1f s".format(mostSecs),
            nextStep = "Recognise it in shorter parts.",
        )
    }
}
