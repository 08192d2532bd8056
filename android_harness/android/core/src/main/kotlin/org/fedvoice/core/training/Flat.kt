package org.fedvoice.core.training

import kotlin.math.sqrt

/** Floats `from until until` of a flat vector. */
class Part(val from: Int, val until: Int) {
    /** Number of floats. */
    val size: Int get() = until - from
}

/**
 * Arithmetic on flat vectors [P], in place: none of it makes a second vector.
 *
 * Products are rounded to float32 before they are added, as numpy does, so that the same gradients
 * give the same weights in Python and here.
 */
object Flat {
    private const val LANES = 4

    /** Euclidean norm of [part] of [vector], summed in float64; NaN or infinity if a value is. */
    fun norm(vector: FloatArray, part: Part = Part(0, vector.size)): Double {
        // Four sums side by side, because one waits for the last addition to finish.
        var sum0 = 0.0
        var sum1 = 0.0
        var sum2 = 0.0
        var sum3 = 0.0
        val whole = part.until - part.size % LANES
        for (i in part.from until whole step LANES) {
            val a = vector[i].toDouble()
            val b = vector[i + 1].toDouble()
            val c = vector[i + 2].toDouble()
            val d = vector[i + 3].toDouble()
            sum0 += a * a
            sum1 += b * b
            sum2 += c * c
            sum3 += d * d
        }
        for (i in whole until part.until) sum0 += vector[i].toDouble() * vector[i].toDouble()
        return sqrt(sum0 + sum1 + sum2 + sum3)
    }

    /** min(1, bound / norm): what brings a vector of this norm within [bound]; 0: no bound. */
    fun clipFactor(norm: Double, bound: Double): Double =
        if (bound > 0 && norm > bound) bound / norm else 1.0

    /** target += factor * source. */
    fun addScaled(target: FloatArray, source: FloatArray, factor: Double) {
        val scale = factor.toFloat()
        for (i in target.indices) target[i] += scale * source[i]
    }

    /** target += factor * (a - b). */
    fun addDifference(target: FloatArray, a: FloatArray, b: FloatArray, factor: Double) {
        val scale = factor.toFloat()
        for (i in target.indices) target[i] += scale * (a[i] - b[i])
    }

    /** target = keep * target + factor * source, in [part] of both. */
    fun scaleAndAdd(
        target: FloatArray,
        keep: Double,
        source: FloatArray,
        factor: Double,
        part: Part = Part(0, target.size),
    ) {
        val keep32 = keep.toFloat()
        val scale = factor.toFloat()
        for (i in part.from until part.until) target[i] = keep32 * target[i] + scale * source[i]
    }

    /** target -= source. */
    fun subtract(target: FloatArray, source: FloatArray) {
        for (i in target.indices) target[i] -= source[i]
    }

    /** target *= factor, in [part]. */
    fun scale(target: FloatArray, factor: Double, part: Part = Part(0, target.size)) {
        val scale = factor.toFloat()
        for (i in part.from until part.until) target[i] *= scale
    }
}
