package org.fedvoice.core.model

import com.github.luben.zstd.Zstd
import net.jqwik.api.Arbitraries
import net.jqwik.api.Arbitrary
import net.jqwik.api.ForAll
import net.jqwik.api.Property
import net.jqwik.api.Provide
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test
import kotlin.math.abs

/** Vectors survive the way over the wire, and nothing else is taken for one. */
class CodecTest {
    @Provide
    fun floats(): Arbitrary<Float> = Arbitraries.integers().map { Float.fromBits(it) }

    @Provide
    fun vectors(): Arbitrary<FloatArray> =
        floats().filter { it.isFinite() }.array(FloatArray::class.java).ofMaxSize(40)

    @Property
    fun `float32 is exact, packed or not`(
        @ForAll("vectors") vector: FloatArray,
    ) {
        for (encoding in listOf("float32", "float32+zstd")) {
            val bytes = Codec.encode(vector, encoding)
            assertArrayEquals(vector, Codec.decode(bytes, encoding, vector.size, "test"))
        }
    }

    @Property
    fun `a half is the nearest one, ties to even`(
        @ForAll("floats") value: Float,
    ) {
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
                    assert(gap < otherGap || (gap == otherGap && half.toInt() and 1 == 0)) {
                        "$value became $back, and $other is nearer"
                    }
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
