package org.fedvoice.core.store

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.FeatureSettings
import org.fedvoice.core.training.checkRate
import java.io.ByteArrayInputStream
import java.io.DataInputStream
import java.io.EOFException
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.min

/**
 * Reads the header of a wav file, or of such a file's bytes.
 *
 * @throws FedvoiceException `missing-audio`, `unreadable-audio`
 */
fun readFacts(audio: Audio, where: String): AudioFacts =
    opened(audio, where) { stream, size ->
        val format = readFormat(stream, size)
        AudioFacts(format.sampleRate, format.frames)
    }

/**
 * A waveform [samples] in +-1 with exactly the values that libsndfile gives (int16 / 32768 and so
 * on), at the task's rate: others are [resampled]. Several channels are averaged.
 *
 * @throws FedvoiceException `missing-audio`, `unreadable-audio`, `wrong-sample-rate`
 */
fun readWaveform(audio: Audio, settings: FeatureSettings, where: String): FloatArray {
    val (rate, waveform) = readSound(audio, where)
    checkRate(rate, settings, where)
    return resampled(waveform, rate, settings.sampleRate)
}

/**
 * The same at the file's own rate in Hz, which comes first.
 *
 * @throws FedvoiceException `missing-audio`, `unreadable-audio`
 */
fun readSound(audio: Audio, where: String): Pair<Int, FloatArray> =
    opened(audio, where) { stream, size ->
        val format = readFormat(stream, size)
        Pair(format.sampleRate, readSamples(stream, format))
    }

/** A wav file (PCM, 16 bit, one channel) of [pcm]: what a host app records is stored as this. */
fun wavOf(pcm: ShortArray, sampleRate: Int): ByteArray {
    val bytes = 2 * pcm.size
    val out = ByteBuffer.allocate(HEADER_BYTES + bytes).order(ByteOrder.LITTLE_ENDIAN)
    out.put("RIFF".toByteArray()).putInt(HEADER_BYTES - CHUNK_HEADER_BYTES + bytes)
    out.put("WAVEfmt ".toByteArray()).putInt(FORMAT_BYTES)
    out
        .putShort(PCM.toShort())
        .putShort(1)
        .putInt(sampleRate)
        .putInt(2 * sampleRate)
    out.putShort(2).putShort(Short.SIZE_BITS.toShort())
    out.put("data".toByteArray()).putInt(bytes)
    pcm.forEach(out::putShort)
    return out.array()
}

private class Format(
    val kind: Int,
    val channels: Int,
    val sampleRate: Int,
    val bits: Int,
    val frames: Int,
)

private class NotWav(message: String) : IOException(message)

/** Reads chunks up to the data's first byte. [size]: of the whole file. */
private fun readFormat(stream: DataInputStream, size: Long): Format {
    val riff = stream.take(RIFF_BYTES)
    val magic = String(riff.array(), 0, ID_BYTES, Charsets.ISO_8859_1)
    val kind = String(riff.array(), 2 * ID_BYTES, ID_BYTES, Charsets.ISO_8859_1)
    if (magic == "fLaC") throw NotWav("a flac file, which this phone does not read")
    if (magic != "RIFF" || kind != "WAVE") throw NotWav("a file that does not begin as wav does")
    var position = RIFF_BYTES.toLong()
    var format: ByteBuffer? = null
    while (true) {
        val header = stream.take(CHUNK_HEADER_BYTES)
        position += CHUNK_HEADER_BYTES
        val id = String(header.array(), 0, ID_BYTES, Charsets.ISO_8859_1)
        val length = header.getInt(ID_BYTES).toLong() and UINT_MASK
        if (id == "data") {
            val known = format ?: throw NotWav("a wav file whose data comes before its format")
            val left = size - position
            // A recorder that was killed leaves no length behind.
            return parse(known, if (length == 0L) left else min(length, left))
        }
        val padded = length + (length and 1)
        if (id == "fmt ") {
            if (length !in FORMAT_BYTES..MAX_FORMAT_BYTES) throw NotWav("a damaged wav header")
            format = stream.take(padded.toInt())
        } else {
            stream.skipFully(padded)
        }
        position += padded
    }
}

private fun parse(format: ByteBuffer, dataBytes: Long): Format {
    val tag = format.getShort(0).toInt() and USHORT_MASK
    val extended = tag == EXTENSIBLE && format.capacity() > SUBFORMAT_AT + 1
    val kind = if (extended) format.getShort(SUBFORMAT_AT).toInt() and USHORT_MASK else tag
    val channels = format.getShort(2).toInt()
    val rate = format.getInt(RATE_AT)
    // Bits by container, as in libsndfile: 12 bits lie in the upper ones of two bytes.
    val stated = format.getShort(BITS_AT).toInt()
    val bits = (stated + Byte.SIZE_BITS - 1) / Byte.SIZE_BITS * Byte.SIZE_BITS
    val known = bits in BITS[kind].orEmpty()
    if (!known || channels < 1 || rate < 1) {
        throw NotWav("wav of kind $kind with $stated bits, $channels channels, $rate Hz")
    }
    val frames = dataBytes / (channels * (bits / Byte.SIZE_BITS))
    if (frames > Int.MAX_VALUE) throw NotWav("a recording of $frames samples")
    return Format(kind, channels, rate, bits, frames.toInt())
}

private fun readSamples(stream: DataInputStream, format: Format): FloatArray {
    val width = format.bits / Byte.SIZE_BITS
    val frameBytes = width * format.channels
    val out = FloatArray(format.frames)
    val block = ByteArray(frameBytes * BLOCK_FRAMES)
    val values = ByteBuffer.wrap(block).order(ByteOrder.LITTLE_ENDIAN)
    val sample = sampleReader(format)
    var done = 0
    while (done < out.size) {
        val frames = min(BLOCK_FRAMES, out.size - done)
        stream.readFully(block, 0, frames * frameBytes)
        for (frame in 0 until frames) {
            var sum = 0f
            for (channel in 0 until format.channels) {
                sum += sample(values, frame * frameBytes + channel * width)
            }
            out[done + frame] = if (format.channels == 1) sum else sum / format.channels
        }
        done += frames
    }
    return out
}

private fun sampleReader(format: Format): (ByteBuffer, Int) -> Float =
    when {
        format.kind == FLOAT && format.bits == Float.SIZE_BITS -> ByteBuffer::getFloat
        format.kind == FLOAT -> { data, at -> data.getDouble(at).toFloat() }
        format.bits == 8 -> { data, at ->
            ((data.get(at).toInt() and 0xff) - UNSIGNED_ZERO) / 128f
        }
        format.bits == 16 -> { data, at -> data.getShort(at) / 32768f }
        format.bits == 24 -> { data, at ->
            val low = data.getShort(at).toInt() and USHORT_MASK
            ((data.get(at + 2).toInt() shl Short.SIZE_BITS) or low) / 8388608f
        }
        else -> { data, at -> data.getInt(at).toFloat() / 2147483648f }
    }

private fun <T> opened(audio: Audio, where: String, read: (DataInputStream, Long) -> T): T =
    try {
        when (audio) {
            is Audio.Held -> {
                read(data(ByteArrayInputStream(audio.wav)), audio.wav.size.toLong())
            }
            is Audio.InFile -> {
                if (!audio.file.isFile) throw missing(where)
                data(audio.file.inputStream()).use { read(it, audio.file.length()) }
            }
        }
    } catch (error: EOFException) {
        throw unreadable(where, "a file that ends early", error)
    } catch (error: IOException) {
        throw unreadable(where, error.message.orEmpty(), error)
    }

private fun unreadable(where: String, got: String, cause: IOException) =
    FedvoiceException(
        ErrorCode.UNREADABLE_AUDIO,
        where = where,
        got = got,
        wanted = "a wav file (PCM of 8, 16, 24 or 32 bits, or float)",
        nextStep = "Convert it (sox IN -b 16 OUT.wav) or leave it out.",
        cause = cause,
    )

private fun missing(where: String) =
    FedvoiceException(
        ErrorCode.MISSING_AUDIO,
        where = where,
        got = "no such file",
        wanted = "a sound file",
        nextStep = "Put the file back or delete the example.",
    )

private fun data(stream: InputStream) = DataInputStream(stream.buffered())

private fun DataInputStream.take(count: Int): ByteBuffer {
    val bytes = ByteArray(count)
    readFully(bytes)
    return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
}

private fun DataInputStream.skipFully(count: Long) {
    var left = count
    while (left > 0) {
        val skipped = skip(left)
        if (skipped > 0) {
            left -= skipped
        } else {
            readByte() // throws at the end
            left -= 1
        }
    }
}

private const val PCM = 1
private const val FLOAT = 3
private val BITS = mapOf(PCM to listOf(8, 16, 24, 32), FLOAT to listOf(32, 64))
private const val EXTENSIBLE = 0xfffe
private const val ID_BYTES = 4
private const val RIFF_BYTES = 12
private const val CHUNK_HEADER_BYTES = 8
private const val HEADER_BYTES = 44
private const val FORMAT_BYTES = 16
private const val MAX_FORMAT_BYTES = 1024
private const val RATE_AT = 4
private const val BITS_AT = 14
private const val SUBFORMAT_AT = 24
private const val UNSIGNED_ZERO = 128
private const val UINT_MASK = 0xffffffffL
private const val USHORT_MASK = 0xffff
private const val BLOCK_FRAMES = 4096
