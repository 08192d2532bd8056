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
    fun `int8 comes back within half a scale of every value`() =
        repeat(300) {
            val magnitude = 10f.pow(random.nextInt(-30, 30))
            val vector =
                FloatArray(random.nextInt(2200)) { (random.nextFloat() - 0.5f) * magnitude }
            for (encoding in listOf("int8", "int8+zstd")) {
                val bytes = Codec.encode(vector, encoding)
                val back = Codec.decode(bytes, encoding, vector.size, "test")
                for (start in vector.indices step Quantised.BLOCK_VALUES) {
                    val block = start until minOf(start + Quantised.BLOCK_VALUES, vector.size)
                    val largest = block.maxOf { abs(vector[it]) }
                    val worst = block.maxOf { abs(back[it].toDouble() - vector[it]) }
                    assertTrue(worst <= largest / 127.0 / 2 * (1 + 1e-4), "$worst of $largest")
                }
            }
        }

    @Test
    fun `int8 by hand`() {
        val vector = FloatArray(Quantised.BLOCK_VALUES + 1)
        // In units of the scale: ties go to the even neighbour.
        floatArrayOf(127f, -127f, 0.5f, 1.5f, -2.5f, 3.4f).copyInto(vector)
        val bytes = Codec.encode(vector, "int8")
        assertEquals(4 + Quantised.BLOCK_VALUES + 4 + 1, bytes.size)
        assertArrayEquals(byteArrayOf(0, 0, 0x80.toByte(), 0x3F), bytes.copyOf(4))
        assertArrayEquals(byteArrayOf(127, -127, 0, 2, -2, 3, 0), bytes.copyOfRange(4, 11))
    }

    @Test
    fun `values that have no scale are refused, and too small ones are zeros`() {
        for (value in listOf(Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY)) {
            assertCode(ErrorCode.NOT_FINITE) { Codec.encode(floatArrayOf(1f, value), "int8+zstd") }
        }
        val tiny = floatArrayOf(Float.MIN_VALUE, -1e-37f)
        assertArrayEquals(FloatArray(2), Codec.decode(Codec.encode(tiny, "int8"), "int8", 2, "x"))
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
