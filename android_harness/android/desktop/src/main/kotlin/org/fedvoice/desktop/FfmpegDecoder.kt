package org.fedvoice.desktop

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.store.AudioDecoder
import org.fedvoice.core.store.notDecoded
import java.io.File
import java.io.IOException

/** Decodes with the `ffmpeg` program, if the machine has it. */
internal class FfmpegDecoder(private val program: String = "ffmpeg") : AudioDecoder {
    override fun decode(file: File, where: String): ByteArray {
        val complaints = File.createTempFile("fedvoice-ffmpeg", ".log")
        try {
            val process = started(file, complaints, where)
            val wav = process.inputStream.use { it.readBytes() }
            if (process.waitFor() != 0 || wav.size <= HEADER_BYTES) {
                val last = complaints.readLines().lastOrNull { it.isNotBlank() }
                throw notDecoded(where, last ?: "no sound in it")
            }
            return wav
        } finally {
            complaints.delete()
        }
    }

    private fun started(file: File, complaints: File, where: String): Process =
        try {
            // A name that looks like an address is a file's all the same.
            val words = "-v error -nostdin -map 0:a:0 -ac 1 -c:a pcm_s16le -f wav -".split(" ")
            val source = listOf("-i", "file:${file.path}")
            val options = words.take(BEFORE_SOURCE) + source + words.drop(BEFORE_SOURCE)
            ProcessBuilder(listOf(program) + options).redirectError(complaints).start()
        } catch (error: IOException) {
            throw FedvoiceException(
                ErrorCode.MISSING_EXTRA,
                where = where,
                got = "a recording to be decoded and no program $program",
                wanted = "ffmpeg, which decodes flac, mp3, m4a and opus",
                nextStep = "Install it (apt-get install ffmpeg), or convert the recording to wav.",
                cause = error,
            )
        }

    private companion object {
        const val BEFORE_SOURCE = 3
        const val HEADER_BYTES = 44
    }
}
