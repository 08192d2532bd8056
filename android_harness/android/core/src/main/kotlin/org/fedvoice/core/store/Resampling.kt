package org.fedvoice.core.store

import kotlin.math.PI
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sin
import kotlin.math.sqrt

/** Rates at which recordings are taken, in Hz; those of the task's own rate always are. */
val USUAL_RATES: IntRange = 8_000..192_000

/** How many samples [samples] at [rate] are at [wanted]: the same time, rounded. */
fun samplesAt(samples: Int, rate: Int, wanted: Int): Int =
    ((2L * samples * wanted + rate) / (2L * rate)).toInt()

/**
 * A waveform [samples] of [rate] Hz at [wanted] Hz.
 *
 * Windowed-sinc interpolation, polyphase: J. O. Smith, "Digital Audio Resampling", with a Kaiser
 * window (J. F. Kaiser, 1974). Up to 91% of the lower rate's half passes, from its half on less
 * than 1e-5 does, as with soxr's high quality, to which `ResamplingTest` holds it.
 *
 * @return [samplesAt]; before the first and after the last sample silence is taken
 */
fun resampled(waveform: FloatArray, rate: Int, wanted: Int): FloatArray {
    if (rate == wanted) return waveform
    val divisor = gcd(rate, wanted)
    val phases = Phases(rate / divisor, wanted / divisor)
    return FloatArray(samplesAt(waveform.size, rate, wanted)) { i ->
        // Output i lies at i * step / count samples of the input.
        val at = i.toLong() * phases.step
        val taps = phases.taps((at % phases.count).toInt())
        val begin = (at / phases.count).toInt() - taps.size / 2 + 1
        var sum = 0.0
        for (k in max(0, -begin) until min(taps.size, waveform.size - begin)) {
            sum += taps[k] * waveform[begin + k].toDouble()
        }
        sum.toFloat()
    }
}

/** The filter at each of [count] places between two samples of the input. */
private class Phases(val step: Int, val count: Int) {
    /** Of the lower rate, in parts of the input's. */
    private val scale = min(1.0, count.toDouble() / step)
    private val half = ceil(HALF_WIDTH / scale).toInt()
    private val keeps = count.toLong() * half * 2 <= MOST_KEPT
    private val kept = arrayOfNulls<FloatArray>(if (keeps) count else 0)

    fun taps(phase: Int): FloatArray =
        if (keeps) kept[phase] ?: made(phase).also { kept[phase] = it } else made(phase)

    private fun made(phase: Int): FloatArray {
        val shift = phase.toDouble() / count
        return FloatArray(
            2 * half,
        ) { (scale * Kernel.at((it - half + 1 - shift) * scale)).toFloat() }
    }
}

/** The windowed sinc, tabulated: between its points a straight line is closer than 1e-6. */
private object Kernel {
    private const val POINTS = 1024
    private val table = DoubleArray(HALF_WIDTH * POINTS + 2) { exact(it.toDouble() / POINTS) }

    /** @param place from the middle, in samples of the lower rate */
    fun at(place: Double): Double {
        val x = (if (place < 0) -place else place) * POINTS
        val i = x.toInt()
        if (i >= HALF_WIDTH * POINTS) return 0.0
        return table[i] + (x - i) * (table[i + 1] - table[i])
    }

    private fun exact(place: Double): Double {
        val edge = place / HALF_WIDTH
        if (edge >= 1) return 0.0
        val x = PI * CUT * place
        val sinc = if (x == 0.0) 1.0 else sin(x) / x
        return CUT * sinc * bessel(BETA * sqrt(1 - edge * edge)) / bessel(BETA)
    }

    /** The modified Bessel function of the first kind and order 0, by its series. */
    private fun bessel(x: Double): Double {
        var sum = 1.0
        var term = 1.0
        var k = 1
        while (term > sum * 1e-17) {
            term *= (x / (2 * k)) * (x / (2 * k))
            sum += term
            k += 1
        }
        return sum
    }
}

private tailrec fun gcd(a: Int, b: Int): Int = if (b == 0) a else gcd(b, a % b)

/** Samples of the lower rate on each side of the middle: for a fall of 100 dB from 0.913 to 1. */
private const val HALF_WIDTH = 74

/** The middle of the fall, in parts of half the lower rate. */
private const val CUT = 0.9565

/** Kaiser's 0.1102 (A - 8.7) for A = 100 dB. */
private const val BETA = 10.06

/** Floats: a megabyte. Rates without a common divisor have their filters made anew each time. */
private const val MOST_KEPT = 1L shl 18
