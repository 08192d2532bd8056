package org.fedvoice.core.random

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest

/** What a stream's numbers are for: no two uses share a stream. */
enum class Purpose(val id: String) {
    DATA_LIMIT("data-limit"),
    SHUFFLE("shuffle"),
    NOISE("noise"),
    SPEC_AUGMENT("spec-augment"),
    COHORT("cohort"),
    INITIAL_WEIGHTS("initial-weights"),
    RETRY("retry"),
    PARTITION("partition"),
    NORMAL_TABLE("normal-table"),
    DRAWS("draws"),
    UNIFORM_TABLE("uniform-table"),
}

/**
 * Numbers drawn in order from one named Philox stream; `docs/protocol.md`, "Randomness".
 *
 * The name decides the numbers: a resumed client opens the same stream and draws the same ones.
 */
class Stream(seed: ULong, clientId: String, round: Int, purpose: Purpose) {
    private val key0: Int
    private val key1: Int
    private var block = 0L

    init {
        val name = "$seed|$clientId|$round|${purpose.id}".toByteArray(Charsets.UTF_8)
        val digest = MessageDigest.getInstance("SHA-256").digest(name)
        val words = ByteBuffer.wrap(digest).order(ByteOrder.LITTLE_ENDIAN)
        key0 = words.getInt()
        key1 = words.getInt()
    }

    /** The next [count] words, unsigned in an Int's bits; the last block's rest is dropped. */
    fun words(count: Int): IntArray {
        val words = IntArray(count)
        val four = IntArray(Philox.WORDS)
        for (start in 0 until count step Philox.WORDS) {
            Philox.block(key0, key1, block++, four)
            four.copyInto(words, start, 0, minOf(Philox.WORDS, count - start))
        }
        return words
    }

    /** An integer in [0, [bound]): the high half of word * bound. */
    fun below(bound: Int): Int = scaled(words(1)[0], bound)

    /** A number in [0, 1) with 32 random bits. */
    fun uniform(): Double = words(1)[0].toUInt().toDouble() / TWO_TO_32

    /** [count] numbers in [0, 1): the high 24 bits of a word each, which a float holds exactly. */
    fun uniforms(count: Int): FloatArray {
        val words = words(count)
        return FloatArray(count) { (words[it] ushr UNUSED_BITS).toFloat() / TWO_TO_24 }
    }

    /** A permutation of 0..[count]-1 by Fisher-Yates from the end, one word a swap. */
    fun permutation(count: Int): IntArray {
        val order = IntArray(count) { it }
        if (count < 2) return order
        val words = words(count - 1)
        for ((place, i) in (count - 1 downTo 1).withIndex()) {
            val j = scaled(words[place], i + 1)
            order[i] = order[j].also { order[j] = order[i] }
        }
        return order
    }

    /**
     * [count] standard normals by Box-Muller in float64 from pairs of words.
     *
     * [StrictMath] gives every host the same bits; numpy's may differ in the last one of a float64.
     */
    fun normals(count: Int): FloatArray {
        val out = FloatArray(count)
        val words = words(2 * ((count + 1) / 2))
        for (i in words.indices step 2) {
            val a = (words[i].toUInt().toDouble() + 1.0) / TWO_TO_32
            val angle = 2.0 * Math.PI * words[i + 1].toUInt().toDouble() / TWO_TO_32
            val radius = StrictMath.sqrt(-2.0 * StrictMath.log(a))
            out[i] = (radius * StrictMath.cos(angle)).toFloat()
            if (i + 1 < count) out[i + 1] = (radius * StrictMath.sin(angle)).toFloat()
        }
        return out
    }
}

/** `(word * bound) >> 32` of an unsigned [word]: a number in [0, [bound]). */
fun scaled(word: Int, bound: Int): Int =
    (((word.toLong() and 0xFFFFFFFFL) * bound) ushr Int.SIZE_BITS).toInt()

private const val TWO_TO_32 = 4294967296.0
private const val TWO_TO_24 = 16777216f
private const val UNUSED_BITS = 8
