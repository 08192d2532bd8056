package org.fedvoice.core.store

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.io.File
import java.io.IOException

/** Reads recordings that are no wav files: flac, mp3, m4a, opus, by what the machine has for it. */
fun interface AudioDecoder {
    /**
     * The bytes of a wav file (PCM, 16 bit, one channel) at the recording's own rate.
     *
     * @param where names the recording in errors
     * @throws FedvoiceException `unreadable-audio`, `missing-extra`
     */
    fun decode(file: File, where: String): ByteArray

    companion object {
        /** Of a machine that decodes nothing: says so. */
        val NONE: AudioDecoder =
            AudioDecoder { _, where -> throw notDecoded(where, "no wav file, and no decoder here") }
    }
}

/** An `unreadable-audio` of a decoder. */
fun notDecoded(where: String, got: String, cause: Exception? = null): FedvoiceException =
    FedvoiceException(
        ErrorCode.UNREADABLE_AUDIO,
        where = where,
        got = got,
        wanted = "a wav file, or flac, mp3, m4a or opus where they are decoded",
        nextStep = "Convert it (ffmpeg -i IN -ac 1 OUT.wav) or leave it out.",
        cause = cause,
    )

/** [audio] itself if it is a wav file or is not there, else decoded. */
internal fun AudioDecoder.asWav(audio: Audio, where: String): Audio {
    val file = (audio as? Audio.InFile)?.file ?: return audio
    return if (!file.isFile || isWav(file)) audio else Audio.Held(decode(file, where))
}

/** Whether a file begins as wav files do, or is too short to tell. */
fun isWav(file: File): Boolean =
    try {
        val begin = ByteArray(MAGIC_BYTES)
        val count = file.inputStream().use { it.read(begin) }
        // A file that is no sound at all is told so by the wav reader, in its words.
        count < MAGIC_BYTES || String(begin, Charsets.ISO_8859_1) in WAV_MAGIC
    } catch (_: IOException) {
        true
    }

private const val MAGIC_BYTES = 4
private val WAV_MAGIC = listOf("RIFF", "RIFX", "RF64")
