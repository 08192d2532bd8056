package org.fedvoice.core.model

import com.github.luben.zstd.Zstd
import com.github.luben.zstd.ZstdInputStream
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest

/**
 * Flat vectors <-> bytes; the counterpart of `protocol/codec.py`.
 *
 * Encodings: `float32` (little-endian, exact), `float16` (half the bytes; values beyond 65504 are
 * refused), `int8` (a quarter; [Quantised]), and each with `+zstd`. The digest of a payload is
 * always over the encoded bytes.
 */
object Codec {
    val ENCODINGS: List<String> =
        listOf("float32", "float32+zstd", "float16", "float16+zstd", "int8", "int8+zstd")

    /** Size of the chunks in which blobs travel. */
    const val CHUNK_BYTES: Int = 256 * 1024
    private const val ZSTD_LEVEL = 3
    private const val ZSTD_SUFFIX = "+zstd"

    /** sha256 of [bytes], hex. */
    fun digestOf(bytes: ByteArray): String = hex(MessageDigest.getInstance("SHA-256").digest(bytes))

    /** [bytes] as lower-case hex. */
    fun hex(bytes: ByteArray): String = bytes.joinToString("") { "%02x".format(it) }

    /**
     * Bytes of [flat] [P] in [encoding].
     *
     * @throws FedvoiceException `bad-encoding`; `not-finite` if float16 or int8 cannot hold a value
     */
    fun encode(flat: FloatArray, encoding: String): ByteArray {
        checkEncoding(encoding, "encode")
        val out =
            ByteBuffer
                .allocate(plainBytes(encoding, flat.size))
                .order(ByteOrder.LITTLE_ENDIAN)
        when (baseOf(encoding)) {
            "int8" -> {
                Quantised.write(flat, out)
            }
            "float16" -> {
                for (value in flat) {
                    val encoded = Float16.of(value)
                    if (!Float16.toFloat(encoded).isFinite()) throw beyondRange()
                    out.putShort(encoded)
                }
            }
            else -> {
                out.asFloatBuffer().put(flat)
            }
        }
        val bytes = out.array()
        return if (encoding.endsWith(ZSTD_SUFFIX)) Zstd.compress(bytes, ZSTD_LEVEL) else bytes
    }

    /**
     * A flat vector [[size]] from [encode]'s bytes.
     *
     * @param size P, the number of floats wanted
     * @param where named in errors: the blob's digest or the report's id
     * @throws FedvoiceException `bad-encoding`; `wrong-shape` if there are not [size] values
     */
    fun decode(data: ByteArray, encoding: String, size: Int, where: String): FloatArray {
        checkEncoding(encoding, where)
        val wantedBytes = plainBytes(encoding, size)
        val plain =
            when {
                encoding.endsWith(ZSTD_SUFFIX) -> unpack(data, wantedBytes, encoding, where)
                else -> ByteBuffer.wrap(data)
            }
        if (plain.remaining() != wantedBytes) {
            throw FedvoiceException(
                ErrorCode.WRONG_SHAPE,
                where = where,
                got = "${plain.remaining()} bytes",
                wanted = "$wantedBytes bytes ($size values as ${baseOf(encoding)})",
                nextStep = "Use a vector of the task the round is for.",
            )
        }
        plain.order(ByteOrder.LITTLE_ENDIAN)
        return when (baseOf(encoding)) {
            "int8" -> Quantised.read(plain, size)
            "float16" -> FloatArray(size) { Float16.toFloat(plain.getShort()) }
            else -> FloatArray(size).also { plain.asFloatBuffer().get(it) }
        }
    }

    /** @throws FedvoiceException `bad-encoding` unless [encoding] is one of [ENCODINGS] */
    fun checkEncoding(encoding: String, where: String) {
        if (encoding !in ENCODINGS) {
            throw FedvoiceException(
                ErrorCode.BAD_ENCODING,
                where = where,
                got = "'$encoding'",
                wanted = "one of ${ENCODINGS.joinToString()}",
                nextStep = "Choose a listed encoding, or update the side that does not know it.",
            )
        }
    }

    /** As much of [out] as the stream has; how much that was. */
    private fun fill(out: ByteArray, stream: InputStream): Int {
        var filled = 0
        while (filled < out.size) {
            val read = stream.read(out, filled, out.size - filled)
            if (read < 0) break
            filled += read
        }
        return filled
    }

    /**
     * At most [wantedBytes] + 1 bytes: one more than wanted is enough to see that there are too
     * many, and a small blob that would swell to gigabytes is never unpacked.
     */
    private fun unpack(
        data: ByteArray,
        wantedBytes: Int,
        encoding: String,
        where: String,
    ): ByteBuffer {
        val out = ByteArray(wantedBytes + 1)
        var filled = 0
        try {
            // Continuous: a frame that is cut short ends early instead of being an error, and the
            // caller sees too few bytes.
            filled = ZstdInputStream(data.inputStream()).setContinuous(true).use { fill(out, it) }
        } catch (error: IOException) {
            throw FedvoiceException(
                ErrorCode.BAD_ENCODING,
                where = where,
                got = "bytes that are not zstd (${error.message})",
                wanted = encoding,
                nextStep = "Send the bytes again; if it persists, the sender is at fault.",
                cause = error,
            )
        }
        return ByteBuffer.wrap(out, 0, filled)
    }

    private fun baseOf(encoding: String) = encoding.substringBefore('+')

    /** Bytes that [size] values take in [encoding] before compression. */
    private fun plainBytes(encoding: String, size: Int): Int =
        when (baseOf(encoding)) {
            "int8" -> Quantised.bytes(size)
            "float16" -> size * Short.SIZE_BYTES
            else -> size * Float.SIZE_BYTES
        }

    private fun beyondRange() =
        FedvoiceException(
            ErrorCode.NOT_FINITE,
            where = "encode",
            got = "a value beyond float16's range",
            wanted = "values within +-65504",
            nextStep = "Use float32, or clip the update.",
        )
}
