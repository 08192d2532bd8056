package org.fedvoice.core.random

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import kotlin.math.abs

/** Philox4x32-10 against its authors' known answers, and the draws built upon it. */
class RandomTest {
    private fun words(vararg values: Long) = IntArray(values.size) { values[it].toInt() }

    @Test
    fun `philox gives the published words`() {
        // From kat_vectors of the authors' Random123 distribution: counter, key, result.
        val ones = 0xFFFFFFFFL
        val answers =
            listOf(
                Triple(
                    words(0, 0, 0, 0),
                    words(0, 0),
                    words(0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
                ),
                Triple(
                    words(ones, ones, ones, ones),
                    words(ones, ones),
                    words(0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
                ),
                Triple(
                    words(0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
                    words(0xA4093822, 0x299F31D0),
                    words(0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
                ),
            )
        for ((counter, key, expected) in answers) {
            Philox.permute(counter, key[0], key[1])
            assertArrayEquals(expected, counter)
        }
    }

    @Test
    fun `a draw drops what is left of its last block`() {
        val parts = Stream(3u, "a", 1, Purpose.SHUFFLE)
        val whole = Stream(3u, "a", 1, Purpose.SHUFFLE).words(12)
        assertArrayEquals(whole.copyOfRange(0, 3), parts.words(3))
        assertArrayEquals(whole.copyOfRange(4, 9), parts.words(5))
    }

    @Test
    fun `streams differ by each part of their name`() {
        val streams =
            listOf(
                Stream(0u, "a", 1, Purpose.SHUFFLE),
                Stream(1u, "a", 1, Purpose.SHUFFLE),
                Stream(0u, "b", 1, Purpose.SHUFFLE),
                Stream(0u, "a", 2, Purpose.SHUFFLE),
                Stream(0u, "a", 1, Purpose.NOISE),
            )
        assertEquals(streams.size, streams.map { it.words(4).toList() }.toSet().size)
    }

    @Test
    fun `permutations hold every element once`() {
        for (count in 0..60) {
            val order = Stream(9u, "c", 3, Purpose.SHUFFLE).permutation(count)
            assertEquals((0 until count).toList(), order.sorted())
        }
    }

    @Test
    fun `below stays below and reaches every value`() {
        val stream = Stream(5u, "c", 0, Purpose.DATA_LIMIT)
        assertEquals((0 until 6).toSet(), List(200) { stream.below(6) }.toSet())
    }

    @Test
    fun `the normal table is standard normal and read round its end`() {
        val table = RandomTable.normals(11u)
        val all = FloatArray(RandomTable.SIZE).also { table.read(0, it) }
        val mean = all.sumOf { it.toDouble() } / all.size
        val variance = all.sumOf { (it - mean) * (it - mean) } / all.size
        assertTrue(abs(mean) < 0.005 && abs(variance - 1) < 0.01) { "mean $mean, $variance" }
        val out = FloatArray(5).also { table.read(RandomTable.SIZE - 2, it) }
        assertArrayEquals(all.copyOfRange(all.size - 2, all.size) + all.copyOf(3), out)
    }

    @Test
    fun `the uniform table holds the high bits of words`() {
        val words = Stream(11u, "", 0, Purpose.UNIFORM_TABLE).words(3)
        val out = FloatArray(3).also { RandomTable.uniforms(11u).read(0, it) }
        assertEquals(words.map { (it ushr 8) / 16777216.0 }, out.map { it.toDouble() })
        assertTrue(out.all { it >= 0f && it < 1f })
    }
}
