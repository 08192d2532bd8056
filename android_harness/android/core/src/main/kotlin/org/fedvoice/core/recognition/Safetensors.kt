package org.fedvoice.core.recognition

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.decodeFromJsonElement
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Float16
import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel

/** One tensor of a safetensors file; [values] in row-major order. */
internal class NamedTensor(val shape: List<Int>, val values: DoubleArray)

/**
 * The tensors of a safetensors file (F16, F32 or F64), by name.
 *
 * @throws FedvoiceException `not-found`; `bad-config` for what is no such file
 */
internal fun readSafetensors(file: File): Map<String, NamedTensor> {
    try {
        val bytes =
            RandomAccessFile(file, "r").use {
                it.channel.map(FileChannel.MapMode.READ_ONLY, 0, it.length())
            }
        return tensorsOf(bytes.order(ByteOrder.LITTLE_ENDIAN))
    } catch (error: IOException) {
        throw notReadable(file, ErrorCode.NOT_FOUND, error)
    } catch (error: IllegalArgumentException) {
        // As of JSON's readers, too.
        throw notReadable(file, ErrorCode.BAD_CONFIG, error)
    }
}

/** A header's size, the header in JSON, then the tensors. */
private fun tensorsOf(bytes: ByteBuffer): Map<String, NamedTensor> {
    require(bytes.limit() >= Long.SIZE_BYTES) { "${bytes.limit()} bytes" }
    val size = bytes.getLong(0)
    require(size in 0..bytes.limit() - Long.SIZE_BYTES) {
        "a header of $size bytes in ${bytes.limit()}"
    }
    val header = ByteArray(size.toInt())
    bytes.position(Long.SIZE_BYTES)
    bytes.get(header)
    val data = bytes.slice().order(ByteOrder.LITTLE_ENDIAN)
    val entries = json.decodeFromString<JsonObject>(header.decodeToString())
    return entries.filterKeys { it != "__metadata__" }.mapValues { (name, entry) ->
        tensorOf(name, json.decodeFromJsonElement<Entry>(entry), data)
    }
}

private fun tensorOf(name: String, entry: Entry, data: ByteBuffer): NamedTensor {
    val width = WIDTHS[entry.type]
    require(width != null) { "$name of type ${entry.type}, wanted one of ${WIDTHS.keys}" }
    val (begin, end) = entry.offsets.takeIf { it.size == 2 } ?: listOf(-1L, -1L)
    require(begin in 0..end && end <= data.limit()) { "$name at ${entry.offsets}" }
    // No product of more than the file has: those could not be held in a Long.
    val count =
        entry.shape.fold(1L) { product, side ->
            require(side >= 0 && product <= data.limit()) { "$name of ${entry.shape}" }
            product * side
        }
    require(count <= data.limit() && count * width == end - begin) {
        "$name of ${entry.shape} in ${end - begin} bytes"
    }
    val at = { i: Int -> begin.toInt() + i * width }
    val values =
        when (entry.type) {
            "F64" -> DoubleArray(count.toInt()) { data.getDouble(at(it)) }
            "F32" -> DoubleArray(count.toInt()) { data.getFloat(at(it)).toDouble() }
            else -> DoubleArray(count.toInt()) { Float16.toFloat(data.getShort(at(it))).toDouble() }
        }
    return NamedTensor(entry.shape, values)
}

private fun notReadable(file: File, code: ErrorCode, error: Exception) =
    FedvoiceException(
        code,
        where = file.path,
        got =
            error.message
                .orEmpty()
                .lineSequence()
                .first(),
        wanted = "a safetensors file of an LSTM language model",
        nextStep = "Check the path; docs/recognition.md names the tensors.",
        cause = error,
    )

@Serializable
private class Entry(
    @SerialName("dtype") val type: String,
    val shape: List<Int>,
    @SerialName("data_offsets") val offsets: List<Long>,
)

private val json = Json { ignoreUnknownKeys = true }

private val WIDTHS = mapOf("F16" to 2, "F32" to 4, "F64" to 8)
