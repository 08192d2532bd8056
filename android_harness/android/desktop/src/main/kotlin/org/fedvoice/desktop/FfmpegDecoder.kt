package org.fedvoice.desktop

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.store.AudioDecoder
import org.fedvoice.core.store.notDecoded
import java.io.File
import java.io.IOException
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicBoolean
import kotlin.concurrent.thread

/**
 * Decodes with the `ffmpeg` program, if the machine has it.
 *
 * @param limitSecs the program is ended after that: a recording that fits is decoded in seconds
 * @param mostBytes of a decoded recording: it is held in memory
 */
internal class FfmpegDecoder(
    private val program: String = "ffmpeg",
    private val limitSecs: Long = 120,
    private val mostBytes: Int = 512 shl 20,
) : AudioDecoder {
    override fun decode(file: File, where: String): ByteArray {
        val complaints = File.createTempFile("fedvoice-ffmpeg", ".log")
        try {
            val process = started(file, complaints, where)
            val isLate = AtomicBoolean()
            // Whoever reads a pipe waits as long as the program does.
            thread(isDaemon = true, name = program) {
                if (!process.waitFor(limitSecs, TimeUnit.SECONDS)) {
                    isLate.set(true)
                    // Not the process's own: it would close the pipe under the reader.
                    process.toHandle().destroyForcibly()
                }
            }
            val wav = process.inputStream.use { it.readNBytes(mostBytes) }
            val isMore = wav.size == mostBytes
            if (isMore) process.toHandle().destroyForcibly()
            val status = process.waitFor()
            val got =
                when {
                    isLate.get() -> "no end of $program after $limitSecs s; it was stopped"
                    isMore -> "more sound than $mostBytes bytes hold"
                    status != 0 -> lastOf(complaints) ?: "what ends $program with $status"
                    wav.size <= HEADER_BYTES -> "no sound in it"
                    else -> return wav
                }
            throw notDecoded(where, got)
        } finally {
            complaints.delete()
        }
    }

    private fun lastOf(complaints: File) = complaints.readLines().lastOrNull { it.isNotBlank() }

    private fun started(file: File, complaints: File, where: String): Process =
        try {
            // A name that looks like an address is a file's all the same.
            val source = listOf("-v", "error", "-nostdin", "-i", "file:${file.path}")
            val sound = "-map 0:a:0 -ac 1 -c:a pcm_s16le -bitexact -f wav -".split(" ")
            ProcessBuilder(listOf(program) + source + sound).redirectError(complaints).start()
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
