package org.fedvoice.core.random

/**
 * 2^20 random numbers of one plan seed: reading them costs less than a training step, making fresh
 * ones costs more.
 */
class RandomTable private constructor(draw: (Int) -> FloatArray) {
    private val values = FloatArray(SIZE)

    init {
        for (start in 0 until SIZE step PART) draw(PART).copyInto(values, start)
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

        /** Standard normals. */
        fun normals(seed: ULong): RandomTable =
            RandomTable(Stream(seed, "", 0, Purpose.NORMAL_TABLE)::normals)

        /** Numbers in [0, 1). */
        fun uniforms(seed: ULong): RandomTable =
            RandomTable(Stream(seed, "", 0, Purpose.UNIFORM_TABLE)::uniforms)
    }
}
