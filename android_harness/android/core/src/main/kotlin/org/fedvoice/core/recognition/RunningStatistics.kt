package org.fedvoice.core.recognition

import org.fedvoice.core.training.SMALLEST_DEVIATION
import kotlin.math.sqrt

/**
 * Mean and deviation of the newest [memoryFrames] feature frames, about: what is older counts less
 * and less.
 */
class RunningStatistics(private val melBins: Int, private val memoryFrames: Double) {
    private val sums = DoubleArray(melBins)
    private var squares = 0.0

    /** How many frames the sums are of. */
    var frames = 0.0
        private set

    /** Add [features] [frames * melBins]. */
    fun hear(features: FloatArray) {
        frames += features.size / melBins
        for (i in features.indices) {
            val value = features[i].toDouble()
            sums[i % melBins] += value
            squares += value * value
        }
        val keep = minOf(1.0, memoryFrames / maxOf(frames, 1.0))
        frames *= keep
        squares *= keep
        for (bin in sums.indices) sums[bin] *= keep
    }

    /** [features] less the mean of each bin, over one deviation of all bins. */
    fun normalise(features: FloatArray): FloatArray {
        val means = DoubleArray(melBins) { sums[it] / frames }
        val variance = squares / frames / melBins - means.sumOf { it * it } / melBins
        val deviation = maxOf(sqrt(maxOf(variance, 0.0)), SMALLEST_DEVIATION)
        return FloatArray(features.size) {
            ((features[it] - means[it % melBins]) / deviation).toFloat()
        }
    }
}
