package org.fedvoice.desktop

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.store.AudioDecoder
import org.fedvoice.core.store.notDecoded
import java.io.File
import java.io.IOException
import java.util.concurrent.TimeUnit

/**
 * Decodes with the `ffmpeg` program, if the machine has it.
 *
 * @param limitSecs the program is ended after that: a recording that fits is decoded in seconds
 * @param mostBytes of a decoded recording: it is held in memory
 */
internal class FfmpegDecoder(
    private val program: String = "ffmpeg",
    private val limitSecs: Long = 120,
    private val mostBytes: Long = 512L shl 20,
) : AudioDecoder {
    override fun decode(file: File, where: String): ByteArray {
        val complaints = File.createTempFile("fedvoice-ffmpeg", ".log")
        // Not a pipe: whoever reads one waits as long as the program does.
        val wav = File.createTempFile("fedvoice-ffmpeg", ".wav")
        try {
            run(started(file, wav, complaints, where), where, complaints)
            if (wav.length() <= HEADER_BYTES) throw notDecoded(where, "no sound in it")
            if (wav.length() >= mostBytes) {
                throw notDecoded(where, "more sound than $mostBytes bytes hold")
            }
            return wav.readBytes()
        } finally {
            complaints.delete()
            wav.delete()
        }
    }

    private fun run(process: Process, where: String, complaints: File) {
        try {
            if (!process.waitFor(limitSecs, TimeUnit.SECONDS)) {
                throw notDecoded(where, "no end of $program after $limitSecs s; it was stopped")
            }
        } finally {
            process.destroyForcibly().waitFor()
        }
        if (process.exitValue() != 0) {
            val last = complaints.readLines().lastOrNull { it.isNotBlank() }
            throw notDecoded(where, last ?: "what ends $program with ${process.exitValue()}")
        }
    }

    private fun started(file: File, wav: File, complaints: File, where: String): Process =
        try {
            // A name that looks like an address is a file's all the same.
            val source = listOf("-v", "error", "-nostdin", "-y", "-i", "file:${file.path}")
            val sound = "-map 0:a:0 -ac 1 -c:a pcm_s16le -bitexact -f wav -fs $mostBytes".split(" ")
            ProcessBuilder(listOf(program) + source + sound + "file:${wav.path}")
                .redirectErrorStream(true)
                .redirectOutput(complaints)
                .start()
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
        const val HEADER_BYTES = 44
    }
}
