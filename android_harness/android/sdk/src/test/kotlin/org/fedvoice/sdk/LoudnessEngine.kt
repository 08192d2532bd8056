package org.fedvoice.sdk

import org.fedvoice.core.model.Bucket
import org.fedvoice.core.model.FeatureSettings
import org.fedvoice.core.model.ParameterTable
import org.fedvoice.core.model.Streaming
import org.fedvoice.core.model.TargetKind
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.model.Vocabulary
import org.fedvoice.core.recognition.Carried
import org.fedvoice.core.recognition.StreamingEngine
import org.fedvoice.core.training.Batch
import java.util.concurrent.CopyOnWriteArraySet
import kotlin.math.abs

/** A CTC model that hears "yes" where it is loud, for as long as it is. */
internal class LoudnessEngine(
    override val manifest: TaskManifest = loudness(Streaming(10, 1, outputs = 2, encoderState = 1)),
) : StreamingEngine {
    val threads = CopyOnWriteArraySet<Thread>()

    @Volatile
    var isClosed = false

    override fun features(waveform: FloatArray): FloatArray {
        val settings = manifest.features
        return FloatArray(settings.frames(waveform.size)) {
            abs(waveform[it * settings.hopSamples])
        }
    }

    override fun stream(weights: FloatArray, features: FloatArray, state: FloatArray): Carried {
        threads += Thread.currentThread()
        check(!isClosed) { "a program that was closed" }
        val loud = features.flatMap { listOf(0f, if (it > 0.5f) 9f else -9f) }
        return Carried(loud.toFloatArray(), state)
    }

    override fun close() {
        isClosed = true
    }

    override fun predict(weights: FloatArray, tokens: LongArray, states: FloatArray) = none()

    override fun join(weights: FloatArray, outputs: FloatArray, predictions: FloatArray) = none()

    override fun step(bucket: Bucket, weights: FloatArray, batch: Batch, gradient: FloatArray) =
        none()

    override fun decode(
        bucket: Bucket,
        weights: FloatArray,
        features: FloatArray,
        frameCounts: LongArray,
    ) = none()

    private fun none(): Nothing = error("not asked for")
}

internal fun loudness(streaming: Streaming?) =
    TaskManifest(
        name = "loudness",
        modelKind = "ctc",
        model = emptyMap(),
        parameters = ParameterTable(emptyList(), totalSize = 0),
        features = FeatureSettings(melBins = 1, stack = 1),
        buckets = listOf(Bucket("t9", 9, 1, 1)),
        vocabulary = Vocabulary(TargetKind.WORD, listOf("<blank>", "yes")),
        programDigest = "00",
        weightsDigest = "00",
        streaming = streaming,
    )
