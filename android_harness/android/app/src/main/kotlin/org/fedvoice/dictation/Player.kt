package org.fedvoice.dictation

import android.media.AudioAttributes
import android.media.AudioFormat
import android.media.AudioTrack
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.withContext
import org.fedvoice.sdk.Sound
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Plays [sound] to its end, or until the caller is cancelled. */
internal suspend fun play(sound: Sound) =
    withContext(Dispatchers.IO) {
        val rate = sound.sampleRate
        val bytes = bytesOf(sound.pcm)
        val blockBytes = Short.SIZE_BYTES * rate / BLOCKS_A_SEC
        val least = AudioTrack.getMinBufferSize(rate, MONO, PCM)
        val track =
            AudioTrack
                .Builder()
                .setAudioAttributes(SPEECH)
                .setAudioFormat(format(rate))
                .setBufferSizeInBytes(maxOf(least, blockBytes))
                .build()
        try {
            track.play()
            while (bytes.hasRemaining()) {
                ensureActive()
                val size = minOf(blockBytes, bytes.remaining())
                val written = track.write(bytes, size, AudioTrack.WRITE_BLOCKING)
                check(written > 0) { "the loudspeaker takes no sound: $written" }
            }
            track.stop()
            // What is in the buffer is still heard.
            delay(1000L * track.bufferSizeInFrames / rate)
        } finally {
            track.release()
        }
    }

private fun bytesOf(pcm: ShortArray): ByteBuffer {
    val bytes = ByteBuffer.allocate(Short.SIZE_BYTES * pcm.size).order(ByteOrder.nativeOrder())
    bytes.asShortBuffer().put(pcm)
    return bytes
}

private fun format(rate: Int) =
    AudioFormat
        .Builder()
        .setSampleRate(rate)
        .setEncoding(PCM)
        .setChannelMask(MONO)
        .build()

private val SPEECH =
    AudioAttributes
        .Builder()
        .setUsage(AudioAttributes.USAGE_MEDIA)
        .setContentType(AudioAttributes.CONTENT_TYPE_SPEECH)
        .build()
private const val BLOCKS_A_SEC = 10
private const val MONO = AudioFormat.CHANNEL_OUT_MONO
private const val PCM = AudioFormat.ENCODING_PCM_16BIT
