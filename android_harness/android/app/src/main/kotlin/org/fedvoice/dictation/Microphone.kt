package org.fedvoice.dictation

import android.Manifest
import android.content.Context
import android.content.pm.PackageManager
import android.media.AudioFormat
import android.media.AudioRecord
import android.media.MediaRecorder
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.catch
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOn
import java.io.IOException

/** The microphone gives nothing. */
class NoSoundException(cause: Throwable) : IOException(cause.message, cause)

/** Records 16 bit samples of one channel, until told to stop. */
class Microphone(private val context: Context) {
    /** Whether the person has allowed it. */
    val isAllowed: Boolean
        get() =
            context.checkSelfPermission(Manifest.permission.RECORD_AUDIO) ==
                PackageManager.PERMISSION_GRANTED

    /**
     * What is heard until [isWanted] says no, at most [LONGEST_SECS], a tenth of a second at a
     * time; it waits for nobody.
     *
     * @return a flow that throws SecurityException without the permission, [NoSoundException] if
     *   another app holds the microphone
     */
    fun sound(isWanted: () -> Boolean): Flow<ShortArray> =
        flow {
            if (!isAllowed) throw SecurityException("the microphone is not allowed")
            val least = AudioRecord.getMinBufferSize(SAMPLE_RATE, MONO, PCM)
            val block = ShortArray(SAMPLE_RATE / BLOCKS_A_SEC)
            val size = maxOf(least, Short.SIZE_BYTES * block.size)
            val recorder = AudioRecord(SOURCE, SAMPLE_RATE, MONO, PCM, size)
            var left = SAMPLE_RATE * LONGEST_SECS
            try {
                recorder.startRecording()
                while (isWanted() && left > 0) {
                    val read = recorder.read(block, 0, minOf(block.size, left))
                    check(read >= 0) { "the microphone gives no sound: error $read" }
                    emit(block.copyOf(read))
                    left -= read
                }
                recorder.stop()
            } finally {
                recorder.release()
            }
        }.catch { throw if (it is IllegalStateException) NoSoundException(it) else it }
            .flowOn(Dispatchers.IO)
            .buffer(Channel.UNLIMITED)

    companion object {
        /** The rate that tasks expect unless they say otherwise. */
        const val SAMPLE_RATE: Int = 16000
        const val LONGEST_SECS: Int = 30
        private const val BLOCKS_A_SEC = 10
        private const val MONO = AudioFormat.CHANNEL_IN_MONO
        private const val PCM = AudioFormat.ENCODING_PCM_16BIT
        private const val SOURCE = MediaRecorder.AudioSource.VOICE_RECOGNITION
    }
}
