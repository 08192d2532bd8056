package org.fedvoice.core.model

/** Conversions between float32 and IEEE 754 binary16 in a [Short]'s bits. */
object Float16 {
    private const val SIGN = 0x8000
    private const val INFINITY = 0x7C00
    private const val SMALLEST_NORMAL_EXPONENT = -14
    private const val BIAS = 15
    private const val FRACTION_BITS = 10
    private const val DROPPED_BITS = 13 // of float32's 23

    /** The nearest half, ties to even; infinity beyond 65504. */
    fun of(value: Float): Short {
        val bits = value.toRawBits()
        val sign = (bits ushr 16) and SIGN
        val exponent = Math.getExponent(value)
        val half =
            when {
                value.isNaN() -> {
                    INFINITY or 0x200
                }
                exponent > BIAS -> {
                    INFINITY
                }
                exponent >= SMALLEST_NORMAL_EXPONENT -> {
                    // A carry out of the fraction is a correct carry into the exponent.
                    val fraction = bits and 0x7FFFFF
                    ((exponent + BIAS) shl FRACTION_BITS) + halfEven(fraction, DROPPED_BITS)
                }
                exponent >= -25 -> {
                    val fraction = (bits and 0x7FFFFF) or 0x800000
                    halfEven(fraction, DROPPED_BITS + SMALLEST_NORMAL_EXPONENT - exponent)
                }
                else -> {
                    0
                }
            }
        return (sign or half).toShort()
    }

    /** The float32 with this half's value, exactly. */
    fun toFloat(half: Short): Float {
        val bits = half.toInt()
        val exponent = (bits and INFINITY) ushr FRACTION_BITS
        val fraction = bits and 0x3FF
        val magnitude =
            when (exponent) {
                0 -> {
                    fraction * SMALLEST_SUBNORMAL
                }
                31 -> {
                    if (fraction == 0) Float.POSITIVE_INFINITY else Float.NaN
                }
                else -> {
                    Float.fromBits(
                        ((exponent - BIAS + 127) shl 23) or (fraction shl DROPPED_BITS),
                    )
                }
            }
        return if (bits and SIGN != 0) -magnitude else magnitude
    }

    /** [value] / 2^[dropped], rounded to nearest, ties to even. */
    private fun halfEven(value: Int, dropped: Int): Int {
        val kept = value ushr dropped
        val rest = value - (kept shl dropped)
        val tie = 1 shl (dropped - 1)
        return if (rest > tie || (rest == tie && kept and 1 == 1)) kept + 1 else kept
    }

    private const val SMALLEST_SUBNORMAL = 5.9604645E-8f // 2^-24
}
