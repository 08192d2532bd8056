package org.fedvoice.core.training

import kotlin.math.sqrt

internal const val SMALLEST_DEVIATION = 1e-2

/**
 * Zero mean for every mel bin, unit variance over the whole utterance: [frames * melBins].
 *
 * One deviation for all bins: dividing each bin by its own would blow up the noise of bins in which
 * a short utterance has no energy.
 *
 * @param mel log-mel [frames * melBins], not changed
 */
fun normaliseFeatures(mel: FloatArray, melBins: Int): FloatArray {
    val frames = mel.size / melBins
    val means = DoubleArray(melBins)
    for (i in mel.indices) means[i % melBins] += mel[i].toDouble()
    for (bin in means.indices) means[bin] /= frames.toDouble()
    val out = FloatArray(mel.size) { (mel[it] - means[it % melBins]).toFloat() }
    val mean = out.sumOf { it.toDouble() } / out.size
    val variance = out.sumOf { (it - mean) * (it - mean) } / out.size
    val deviation = maxOf(sqrt(variance), SMALLEST_DEVIATION)
    for (i in out.indices) out[i] = (out[i] / deviation).toFloat()
    return out
}
