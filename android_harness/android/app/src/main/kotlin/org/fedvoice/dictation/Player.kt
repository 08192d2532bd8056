package org.fedvoice.dictation

import android.media.AudioAttributes
import android.media.AudioFormat
import android.media.AudioTrack
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.withContext
import org.fedvoice.sdk.Sound

/** Plays [sound] to its end, or until the caller is cancelled. */
internal suspend fun play(sound: Sound) =
    withContext(Dispatchers.IO) {
        val rate = sound.sampleRate
        val pcm = sound.pcm
        val least = AudioTrack.getMinBufferSize(rate, MONO, PCM)
        val track =
            AudioTrack
                .Builder()
                .setAudioAttributes(SPEECH)
                .setAudioFormat(format(rate))
                .setBufferSizeInBytes(maxOf(least, Short.SIZE_BYTES * rate / BLOCKS_A_SEC))
                .build()
        try {
            track.play()
            var at = 0
            while (at < pcm.size) {
                ensureActive()
                val written = track.write(pcm, at, minOf(rate / BLOCKS_A_SEC, pcm.size - at))
                check(written > 0) { "the loudspeaker takes no sound: $written" }
                at += written
            }
            track.stop()
            // What is in the buffer is still heard.
            delay(1000L * track.bufferSizeInFrames / rate)
        } finally {
            track.release()
        }
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
