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
    samplesAt(samples.toLong(), rate, wanted).toInt()

private fun samplesAt(samples: Long, rate: Int, wanted: Int): Long =
    (2 * samples * wanted + rate) / (2L * rate)

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
    val resampler = Resampler(rate, wanted)
    return resampler.accept(waveform) + resampler.finish()
}

/** [resampled] of sound that comes in pieces: what comes out does not depend on the pieces. */
class Resampler(private val rate: Int, private val wanted: Int) {
    private val divisor = gcd(rate, wanted)
    private val phases = Phases(rate / divisor, wanted / divisor)
    private var held = FloatArray(0)
    private var heldFrom = 0L
    private var made = 0L

    /** What is certain after the next [samples]; a filter's half width of them waits. */
    fun accept(samples: FloatArray): FloatArray {
        if (rate == wanted) return samples
        held = if (held.isEmpty()) samples else held + samples
        // Output i reads up to floor(i * step / count) + half of the input.
        val certain = maxOf(0, heldFrom + held.size - phases.half)
        return madeUntil((certain * phases.count + phases.step - 1) / phases.step)
    }

    /** The rest: silence follows the last sample. */
    fun finish(): FloatArray =
        madeUntil(
            if (rate == wanted) 0 else samplesAt(heldFrom + held.size, rate, wanted),
        )

    private fun madeUntil(end: Long): FloatArray {
        val found = FloatArray((end - made).toInt()) { output(made + it) }
        made = end
        val from = begin(made).coerceIn(heldFrom, heldFrom + held.size)
        held = held.copyOfRange((from - heldFrom).toInt(), held.size)
        heldFrom = from
        return found
    }

    /** The first sample that output [i] reads: it lies at i * step / count of the input. */
    private fun begin(i: Long) = i * phases.step / phases.count - phases.half + 1

    private fun output(i: Long): Float {
        val taps = phases.taps((i * phases.step % phases.count).toInt())
        val begin = (begin(i) - heldFrom).toInt()
        var sum = 0.0
        for (k in max(0, -begin) until min(taps.size, held.size - begin)) {
            sum += taps[k] * held[begin + k].toDouble()
        }
        return sum.toFloat()
    }
}

/** The filter at each of [count] places between two samples of the input. */
private class Phases(val step: Int, val count: Int) {
    /** Of the lower rate, in parts of the input's. */
    private val scale = min(1.0, count.toDouble() / step)
    val half: Int = ceil(HALF_WIDTH / scale).toInt()
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
