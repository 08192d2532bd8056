package org.fedvoice.dictation

import android.Manifest
import android.content.Context
import android.content.pm.PackageManager
import android.media.AudioFormat
import android.media.AudioRecord
import android.media.MediaRecorder

/** Records 16 bit samples of one channel, until told to stop. */
class Microphone(private val context: Context) {
    /** Whether the person has allowed it. */
    val isAllowed: Boolean
        get() =
            context.checkSelfPermission(Manifest.permission.RECORD_AUDIO) ==
                PackageManager.PERMISSION_GRANTED

    /**
     * What is heard until [isWanted] says no, at most [LONGEST_SECS]; blocks.
     *
     * @throws SecurityException without the permission
     * @throws IllegalStateException if another app holds the microphone
     */
    fun record(isWanted: () -> Boolean): ShortArray {
        if (!isAllowed) throw SecurityException("the microphone is not allowed")
        val least = AudioRecord.getMinBufferSize(SAMPLE_RATE, MONO, PCM)
        val block = ShortArray(SAMPLE_RATE / BLOCKS_A_SEC)
        val recorder =
            AudioRecord(SOURCE, SAMPLE_RATE, MONO, PCM, maxOf(least, Short.SIZE_BYTES * block.size))
        val samples = ShortArray(SAMPLE_RATE * LONGEST_SECS)
        var count = 0
        try {
            recorder.startRecording()
            while (isWanted() && count < samples.size) {
                val read = recorder.read(block, 0, minOf(block.size, samples.size - count))
                check(read >= 0) { "the microphone gives no sound: error $read" }
                block.copyInto(samples, count, 0, read)
                count += read
            }
            recorder.stop()
        } finally {
            recorder.release()
        }
        return samples.copyOf(count)
    }

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
