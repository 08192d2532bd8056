package org.fedvoice.sdk

import android.media.AudioFormat
import android.media.MediaCodec
import android.media.MediaExtractor
import android.media.MediaFormat
import org.fedvoice.core.store.AudioDecoder
import org.fedvoice.core.store.notDecoded
import org.fedvoice.core.store.wavOf
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Decodes with what Android has: flac, mp3, m4a (AAC), opus and more; at most a minute. */
internal object MediaDecoder : AudioDecoder {
    override fun decode(file: File, where: String): ByteArray {
        val extractor = MediaExtractor()
        try {
            extractor.setDataSource(file.path)
            val track =
                (0 until extractor.trackCount).firstOrNull { kindOf(extractor, it) != null }
                    ?: throw notDecoded(where, "no sound in it")
            extractor.selectTrack(track)
            val codec = MediaCodec.createDecoderByType(checkNotNull(kindOf(extractor, track)))
            try {
                codec.configure(extractor.getTrackFormat(track), null, null, 0)
                codec.start()
                return Decoding(extractor, codec, where).run()
            } finally {
                codec.release()
            }
        } catch (error: IOException) {
            throw notDecoded(where, error.message.orEmpty(), error)
        } catch (error: IllegalStateException) {
            throw notDecoded(where, "what Android cannot decode: ${error.message}", error)
        } catch (error: IllegalArgumentException) {
            throw notDecoded(where, "what Android has no decoder for: ${error.message}", error)
        } finally {
            extractor.release()
        }
    }

    private fun kindOf(extractor: MediaExtractor, track: Int): String? =
        extractor.getTrackFormat(track).getString(MediaFormat.KEY_MIME)?.takeIf {
            it.startsWith("audio/")
        }
}

/** One recording's way through a codec: the codec's own buffers, in turns. */
private class Decoding(
    private val extractor: MediaExtractor,
    private val codec: MediaCodec,
    private val where: String,
) {
    private val info = MediaCodec.BufferInfo()
    private var samples = ShortArray(1 shl 16)
    private var count = 0
    private var isFed = false
    private var silentTurns = 0

    fun run(): ByteArray {
        while (true) {
            if (!isFed) feed()
            val before = count
            val index = codec.dequeueOutputBuffer(info, TURN_MICROS)
            if (index >= 0) {
                if (info.size > 0) take(checkNotNull(codec.getOutputBuffer(index)))
                codec.releaseOutputBuffer(index, false)
                if (info.flags and MediaCodec.BUFFER_FLAG_END_OF_STREAM != 0) break
            }
            // A buffer without sound is no progress: it could come for ever.
            silentTurns = if (count > before) 0 else silentTurns + 1
            if (silentTurns > MOST_SILENT_TURNS) {
                throw notDecoded(where, "a decoder that gives no sound any more (after $count)")
            }
        }
        if (count == 0) throw notDecoded(where, "no sound in it")
        return wavOf(samples.copyOf(count), rate())
    }

    private fun feed() {
        val index = codec.dequeueInputBuffer(TURN_MICROS)
        if (index < 0) return
        val size = extractor.readSampleData(checkNotNull(codec.getInputBuffer(index)), 0)
        if (size < 0) {
            codec.queueInputBuffer(index, 0, 0, 0, MediaCodec.BUFFER_FLAG_END_OF_STREAM)
            isFed = true
        } else {
            codec.queueInputBuffer(index, 0, size, extractor.sampleTime, 0)
            extractor.advance()
        }
    }

    /** Several channels are averaged. */
    private fun take(buffer: ByteBuffer) {
        val format = codec.outputFormat
        val encoding =
            if (format.containsKey(MediaFormat.KEY_PCM_ENCODING)) {
                format.getInteger(MediaFormat.KEY_PCM_ENCODING)
            } else {
                AudioFormat.ENCODING_PCM_16BIT
            }
        if (encoding != AudioFormat.ENCODING_PCM_16BIT) {
            throw notDecoded(where, "samples of Android's encoding $encoding, not of 16 bits")
        }
        val channels = format.getInteger(MediaFormat.KEY_CHANNEL_COUNT)
        buffer.position(info.offset).limit(info.offset + info.size)
        val values = buffer.slice().order(ByteOrder.nativeOrder()).asShortBuffer()
        val frames = values.remaining() / channels
        if (count + frames > rate() * LONGEST_SECS) {
            throw notDecoded(where, "more than $LONGEST_SECS s of sound")
        }
        if (count + frames > samples.size) {
            samples = samples.copyOf(maxOf(2 * samples.size, count + frames))
        }
        repeat(frames) {
            var sum = 0
            repeat(channels) { sum += values.get() }
            samples[count++] = (sum / channels).toShort()
        }
    }

    private fun rate(): Int = codec.outputFormat.getInteger(MediaFormat.KEY_SAMPLE_RATE)

    private companion object {
        const val TURN_MICROS = 10_000L
        const val MOST_SILENT_TURNS = 500
    }
}
