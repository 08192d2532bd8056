package org.fedvoice.core.random

/**
 * 2^20 standard normals of one plan seed: reading them costs less than a training step, making
 * fresh ones costs more.
 */
class NormalTable(seed: ULong) {
    private val values = FloatArray(SIZE)

    init {
        val stream = Stream(seed, "", 0, Purpose.NORMAL_TABLE)
        for (start in 0 until SIZE step PART) stream.normals(PART).copyInto(values, start)
    }

    /** Fill [out] [P] with table[([offset] + i) mod 2^20]. */
    fun read(offset: Int, out: FloatArray) {
        var filled = 0
        var start = offset % SIZE
        while (filled < out.size) {
            val take = minOf(SIZE - start, out.size - filled)
            values.copyInto(out, filled, start, start + take)
            filled += take
            start = 0
        }
    }

    companion object {
        const val SIZE: Int = 1 shl 20

        // Whole blocks, so that parts hold the numbers that one draw would.
        private const val PART = 4096
    }
}
