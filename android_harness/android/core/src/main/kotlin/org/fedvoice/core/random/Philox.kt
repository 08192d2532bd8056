package org.fedvoice.core.random

/**
 * Philox4x32-10, the counter-based bijection that all random numbers come from.
 *
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011).
 * Words are unsigned 32-bit numbers in an [Int]'s bits.
 */
object Philox {
    const val WORDS = 4
    private const val ROUNDS = 10
    private const val MULTIPLIER_0 = 0xD2511F53L
    private const val MULTIPLIER_1 = 0xCD9E8D57L
    private const val WEYL_0 = 0x9E3779B9.toInt()
    private const val WEYL_1 = 0xBB67AE85.toInt()
    private const val MASK = 0xFFFFFFFFL

    /** Ten rounds on the four counter words in [words], in place, under the two key words. */
    fun permute(words: IntArray, key0: Int, key1: Int) {
        var c0 = words[0]
        var c1 = words[1]
        var c2 = words[2]
        var c3 = words[3]
        var k0 = key0
        var k1 = key1
        repeat(ROUNDS) {
            val product0 = MULTIPLIER_0 * (c0.toLong() and MASK)
            val product1 = MULTIPLIER_1 * (c2.toLong() and MASK)
            c0 = (product1 ushr Int.SIZE_BITS).toInt() xor c1 xor k0
            c1 = product1.toInt()
            c2 = (product0 ushr Int.SIZE_BITS).toInt() xor c3 xor k1
            c3 = product0.toInt()
            k0 += WEYL_0
            k1 += WEYL_1
        }
        words[0] = c0
        words[1] = c1
        words[2] = c2
        words[3] = c3
    }

    /** Block [block] of the stream with this key, written to [out] (4 words). */
    fun block(key0: Int, key1: Int, block: Long, out: IntArray) {
        out[0] = block.toInt()
        out[1] = (block ushr Int.SIZE_BITS).toInt()
        out[2] = 0
        out[3] = 0
        permute(out, key0, key1)
    }
}
