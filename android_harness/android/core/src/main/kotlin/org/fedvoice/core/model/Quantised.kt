package org.fedvoice.core.model

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.nio.ByteBuffer
import kotlin.math.abs

/**
 * int8 vectors: a quarter of float32's bytes; the counterpart of `protocol/quantised.py`.
 *
 * Blocks of [BLOCK_VALUES], the last one may be shorter; each block is its scale (float32,
 * little-endian) and then one signed byte a value: scale = max |x| / 127, byte = x / scale rounded
 * to nearest, ties to even, all in float32. A value comes back as byte * scale. A block whose scale
 * would be below float32's smallest normal number is written as zeros.
 */
object Quantised {
    const val BLOCK_VALUES: Int = 1024
    private const val LARGEST_BYTE = 127f

    /** Bytes that [size] values take. */
    fun bytes(size: Int): Int {
        val blocks = (size + BLOCK_VALUES - 1) / BLOCK_VALUES
        return size + Float.SIZE_BYTES * blocks
    }

    /**
     * Write the blocks of [flat] [P] to [out], which is little-endian.
     *
     * @throws FedvoiceException `not-finite` for NaN or infinity
     */
    fun write(flat: FloatArray, out: ByteBuffer) {
        for (start in flat.indices step BLOCK_VALUES) {
            val until = minOf(start + BLOCK_VALUES, flat.size)
            val scale = scaleOf(flat, start, until)
            out.putFloat(scale)
            for (i in start until until) {
                // rint takes the even neighbour of a tie; the quotient is float32's.
                val rounded = if (scale == 0f) 0.0 else Math.rint((flat[i] / scale).toDouble())
                out.put(rounded.toInt().toByte())
            }
        }
    }

    /** [size] values from [bytes] of them in [data], which is little-endian. */
    fun read(data: ByteBuffer, size: Int): FloatArray {
        val flat = FloatArray(size)
        for (start in flat.indices step BLOCK_VALUES) {
            val scale = data.getFloat()
            for (i in start until minOf(start + BLOCK_VALUES, size)) flat[i] = data.get() * scale
        }
        return flat
    }

    private fun scaleOf(flat: FloatArray, start: Int, until: Int): Float {
        var largest = 0f
        for (i in start until until) {
            if (!flat[i].isFinite()) throw notFinite()
            largest = maxOf(largest, abs(flat[i]))
        }
        val scale = largest / LARGEST_BYTE
        return if (scale < java.lang.Float.MIN_NORMAL) 0f else scale
    }

    private fun notFinite() =
        FedvoiceException(
            ErrorCode.NOT_FINITE,
            where = "encode",
            got = "NaN or infinity",
            wanted = "finite values: int8 has a scale and no room for others",
            nextStep = "Lower the rate, keep clipping on.",
        )
}
