package org.fedvoice.core.training

import org.fedvoice.core.model.Bucket
import org.fedvoice.core.model.FeatureSettings
import org.fedvoice.core.model.ParameterSpec
import org.fedvoice.core.model.ParameterTable
import org.fedvoice.core.model.TargetKind
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.model.Vocabulary
import kotlin.math.exp
import kotlin.math.ln

const val BINS = 2
private const val CLASSES = 3
private const val BIAS = BINS * CLASSES

fun tinyManifest(vararg buckets: Pair<Int, Int> = arrayOf(4 to 4)): TaskManifest =
    TaskManifest(
        name = "tiny",
        modelKind = "softmax",
        model = emptyMap(),
        parameters =
            ParameterTable(
                listOf(
                    ParameterSpec("weight", listOf(BINS, CLASSES), 0),
                    ParameterSpec("bias", listOf(CLASSES), BIAS),
                ),
                totalSize = 12,
            ),
        features = FeatureSettings(melBins = BINS, stack = 1),
        buckets =
            buckets.map { (frames, batch) ->
                Bucket("t$frames", frames, 1, batch, 1000L * frames)
            },
        vocabulary = Vocabulary(TargetKind.WORD, listOf("<blank>", "no", "yes")),
        programDigest = "00",
        weightsDigest = "00",
    )

/** Softmax regression on an utterance's mean feature: an engine small enough for paper. */
class TinyEngine(override val manifest: TaskManifest = tinyManifest()) : Engine {
    var calls = 0

    override fun features(waveform: FloatArray): FloatArray =
        FloatArray(manifest.features.frames(waveform.size) * BINS) { waveform[it] }

    override fun step(
        bucket: Bucket,
        weights: FloatArray,
        batch: Batch,
        gradient: FloatArray,
    ): Float {
        calls += 1
        val point = weights.copyOf()
        gradient.fill(0f)
        var loss = 0.0
        for (row in 0 until bucket.batch) {
            val weight = batch.exampleWeights[row]
            if (weight == 0f) continue
            val means = means(bucket, row, batch.features, batch.frameCounts)
            val error = probabilities(point, means)
            val label = batch.targets[row * bucket.labels].toInt()
            loss -= weight * ln(error[label])
            error[label] -= 1.0
            for (c in 0 until CLASSES) {
                for (bin in 0 until BINS) {
                    gradient[bin * CLASSES + c] += (weight * means[bin] * error[c]).toFloat()
                }
                gradient[BIAS + c] += (weight * error[c]).toFloat()
            }
        }
        return loss.toFloat()
    }

    override fun decode(
        bucket: Bucket,
        weights: FloatArray,
        features: FloatArray,
        frameCounts: LongArray,
    ): List<IntArray> =
        List(bucket.batch) { row ->
            val likely = probabilities(weights, means(bucket, row, features, frameCounts))
            val best = likely.indices.maxByOrNull { likely[it] } ?: 0
            if (best == 0) IntArray(0) else intArrayOf(best)
        }

    override fun close() = Unit

    private fun means(bucket: Bucket, row: Int, features: FloatArray, counts: LongArray) =
        DoubleArray(BINS) { bin ->
            val start = row * bucket.frames * BINS
            val sum = (0 until bucket.frames).sumOf { features[start + it * BINS + bin].toDouble() }
            sum / counts[row]
        }

    private fun probabilities(weights: FloatArray, means: DoubleArray): DoubleArray {
        val scores =
            DoubleArray(CLASSES) { c ->
                means.indices.sumOf { means[it] * weights[it * CLASSES + c] } + weights[BIAS + c]
            }
        val sum = scores.sumOf { exp(it) }
        return DoubleArray(CLASSES) { exp(scores[it]) / sum }
    }
}

/** Seeded utterances of 1..[frames] frames, each with one word. */
fun someExamples(count: Int, frames: Int = 4): ExampleList {
    val random = java.util.Random(7)
    return ExampleList(
        List(count) {
            val length = 1 + random.nextInt(frames)
            val values = FloatArray(length * BINS) { random.nextGaussian().toFloat() }
            Example(values, length, intArrayOf(1 + random.nextInt(2)))
        },
    )
}

class ExampleList(private val examples: List<Example>) : Examples {
    override val size: Int get() = examples.size

    override fun get(index: Int): Example = examples[index]
}
