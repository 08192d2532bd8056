package org.fedvoice.core.model

import com.github.luben.zstd.Zstd
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import kotlin.math.abs
import kotlin.math.pow
import kotlin.random.Random

/** Vectors survive the way over the wire, and nothing else is taken for one. */
class CodecTest {
    private val random = Random(7)

    /** Any bit pattern: subnormal numbers, infinities and NaN among them. */
    private fun anyFloat() = Float.fromBits(random.nextInt())

    @Test
    fun `float32 is exact, packed or not`() =
        repeat(500) {
            val vector = FloatArray(random.nextInt(40)) { anyFloat() }
            vector.forEachIndexed { i, value -> if (!value.isFinite()) vector[i] = 0f }
            for (encoding in listOf("float32", "float32+zstd")) {
                val bytes = Codec.encode(vector, encoding)
                assertArrayEquals(vector, Codec.decode(bytes, encoding, vector.size, "test"))
            }
        }

    @Test
    fun `a half is the nearest one, ties to even`() {
        // Bit patterns are mostly beyond a half's range: as many are drawn within it.
        repeat(5000) { assertNearest(anyFloat()) }
        repeat(5000) { assertNearest((random.nextFloat() - 0.5f) * 10f.pow(random.nextInt(-8, 5))) }
        val ties =
            (0 until 0x7BFF).map {
                Float16.toFloat(it.toShort()) to
                    Float16.toFloat((it + 1).toShort())
            }
        for ((low, high) in ties) assertNearest((low + high) / 2)
    }

    private fun assertNearest(value: Float) {
        val half = Float16.of(value)
        val back = Float16.toFloat(half)
        when {
            value.isNaN() -> {
                assertEquals(Float.NaN, back)
            }
            abs(value) >= 65520f -> {
                assertEquals(Float.POSITIVE_INFINITY, abs(back))
            }
            else -> {
                val gap = abs(value.toDouble() - back)
                for (neighbour in listOf(half - 1, half + 1)) {
                    val other = Float16.toFloat(neighbour.toShort())
                    if (!other.isFinite() || (other < 0) != (back < 0)) continue
                    val otherGap = abs(value.toDouble() - other)
                    val right = gap < otherGap || (gap == otherGap && half.toInt() and 1 == 0)
                    assertTrue(right, "$value became $back, and $other is nearer")
                }
            }
        }
    }

    @Test
    fun `every half comes back as itself`() {
        for (bits in 0..0xFFFF) {
            val value = Float16.toFloat(bits.toShort())
            if (!value.isNaN()) assertEquals(bits.toShort(), Float16.of(value))
        }
    }

    @Test
    fun `values that a half cannot hold are refused`() {
        for (value in listOf(70000f, -65520f, Float.NaN, Float.POSITIVE_INFINITY)) {
            assertCode(ErrorCode.NOT_FINITE) { Codec.encode(floatArrayOf(value), "float16") }
        }
    }

    @Test
    fun `another size, another encoding and bytes that are not zstd are named`() {
        val bytes = Codec.encode(FloatArray(10), "float32")
        val packed = Codec.encode(FloatArray(1000) { it.toFloat() }, "float32+zstd")
        assertCode(ErrorCode.WRONG_SHAPE) { Codec.decode(bytes, "float32", 9, "x") }
        assertCode(ErrorCode.WRONG_SHAPE) { Codec.decode(bytes.copyOf(39), "float32", 10, "x") }
        assertCode(ErrorCode.BAD_ENCODING) { Codec.decode(bytes, "float64", 10, "x") }
        assertCode(ErrorCode.BAD_ENCODING) { Codec.decode(bytes, "float32+zstd", 10, "x") }
        assertCode(ErrorCode.WRONG_SHAPE) { Codec.decode(packed, "float32+zstd", 999, "x") }
        val cut = packed.copyOf(packed.size / 2)
        assertCode(ErrorCode.WRONG_SHAPE) { Codec.decode(cut, "float32+zstd", 1000, "x") }
    }

    @Test
    fun `a blob that would swell is not unpacked`() {
        val bomb = Zstd.compress(ByteArray(256 shl 20), 19)
        assertCode(ErrorCode.WRONG_SHAPE) { Codec.decode(bomb, "float32+zstd", 4, "x") }
    }

    private fun assertCode(code: ErrorCode, call: () -> Unit) {
        assertEquals(code, assertThrows(FedvoiceException::class.java) { call() }.code)
    }
}
