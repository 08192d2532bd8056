package org.fedvoice.desktop

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.FeatureSettings
import org.fedvoice.core.store.Audio
import org.fedvoice.core.store.AudioFacts
import org.fedvoice.core.store.NewExample
import org.fedvoice.core.store.Split
import org.fedvoice.core.store.SqlExampleStore
import org.fedvoice.core.store.readFacts
import org.fedvoice.core.store.readWaveform
import org.fedvoice.core.store.wavOf
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.io.IOException
import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.sin

class FfmpegDecoderTest {
    @TempDir
    lateinit var folder: File

    private val tone =
        ShortArray(48_000) { (8000 * sin(2 * PI * 300 * it / 48_000)).toInt().toShort() }

    @Test
    fun `other formats are learnt from as wav files are`() {
        val wav = File(folder, "a.wav").apply { writeBytes(wavOf(tone, 48_000)) }
        val stored = store(FfmpegDecoder())
        for (kind in listOf("flac", "mp3", "m4a", "opus")) {
            val file = File(folder, "a.$kind")
            assumeTrue(converted(wav, file), "no ffmpeg here, or one without $kind")

            val id = stored.addAll(listOf(NewExample(Audio.InFile(file), "yes"))).single()

            val row = stored.examples(Split.TRAIN).single { it.id == id }
            val sound = readWaveform(stored.audio(row), FeatureSettings(), kind)
            assertEquals(48_000, row.sampleRate, kind)
            assertEquals(16_000.0, sound.size.toDouble(), 1200.0, kind)
            val peak = sound.maxOf { abs(it) }
            assertEquals(8000 / 32768.0, peak.toDouble(), 0.05, kind)
        }
    }

    @Test
    fun `what is no sound is told with the decoder's words`() {
        assumeTrue(converted(File(folder, "none"), File(folder, "none.flac")) || isInstalled())
        val text = File(folder, "a.mp3").apply { writeText("not a sound, but a text\n") }
        val error =
            assertThrows<FedvoiceException> { FfmpegDecoder().decode(text, "a.mp3") }
        assertEquals(ErrorCode.UNREADABLE_AUDIO, error.code)
        assertTrue(error.got.isNotBlank())
    }

    @Test
    fun `a lossless file gives the samples of its wav file`() {
        val wav = File(folder, "a.wav").apply { writeBytes(wavOf(tone, 48_000)) }
        val flac = File(folder, "a.flac")
        assumeTrue(converted(wav, flac), "no ffmpeg here")
        val decoded = Audio.Held(FfmpegDecoder().decode(flac, "a.flac"))
        assertEquals(AudioFacts(48_000, tone.size), readFacts(decoded, "a.flac"))
        val settings = FeatureSettings()
        assertArrayEquals(
            readWaveform(Audio.InFile(wav), settings, "a.wav"),
            readWaveform(decoded, settings, "a.flac"),
        )
    }

    @Test
    fun `a recording that is too long to hold is refused, and none is cut short`() {
        val wav = File(folder, "a.wav").apply { writeBytes(wavOf(tone, 48_000)) }
        val flac = File(folder, "a.flac")
        assumeTrue(converted(wav, flac), "no ffmpeg here")
        val whole = wav.length().toInt()
        for (limit in listOf(whole / 2, whole)) {
            val decoder = FfmpegDecoder(mostBytes = limit)
            val error = assertThrows<FedvoiceException> { decoder.decode(flac, "a.flac") }
            assertTrue("more sound than $limit bytes" in error.got, error.got)
        }
        assertEquals(whole, FfmpegDecoder(mostBytes = whole + 1).decode(flac, "a.flac").size)
    }

    @Test
    fun `a program that does not end is ended, and told`() {
        val id = File(folder, "id")
        val hanging = script("echo \$\$ > $id; exec sleep 600")
        val error =
            assertThrows<FedvoiceException> {
                FfmpegDecoder(hanging, limitSecs = 1).decode(File(folder, "a.mp3"), "a.mp3")
            }
        assertEquals(ErrorCode.UNREADABLE_AUDIO, error.code)
        assertTrue("after 1 s" in error.got, error.got)
        val process = ProcessHandle.of(id.readText().trim().toLong())
        assertFalse(process.isPresent && process.get().isAlive)
    }

    @Test
    fun `a program that fails without a word is told by its status`() {
        val error =
            assertThrows<FedvoiceException> {
                FfmpegDecoder(script("exit 7")).decode(File(folder, "a.mp3"), "a.mp3")
            }
        assertTrue("with 7" in error.got, error.got)
    }

    @Test
    fun `without the program it says what to install, and wav files need none`() {
        val stored = store(FfmpegDecoder("no-such-program"))
        val flac = File(folder, "a.flac").apply { writeText("fLaC and so on") }
        val error =
            assertThrows<FedvoiceException> {
                stored.addAll(listOf(NewExample(Audio.InFile(flac), "yes")))
            }
        assertEquals(ErrorCode.MISSING_EXTRA, error.code)
        assertTrue("apt-get install ffmpeg" in error.nextStep)
        assertEquals(0, stored.count(Split.TRAIN))

        val wav = File(folder, "a.wav").apply { writeBytes(wavOf(tone, 48_000)) }
        stored.addAll(listOf(NewExample(Audio.InFile(wav), "yes")))
        assertEquals(1, stored.count(Split.TRAIN))
    }

    private fun store(decoder: FfmpegDecoder) =
        SqlExampleStore(JdbcDatabase(File(folder, "s.sqlite")), decoder = decoder)

    private fun script(words: String): String =
        File(folder, "program").run {
            writeText("#!/bin/sh\n$words\n")
            setExecutable(true)
            path
        }

    private fun isInstalled(): Boolean = ran("-version")

    private fun converted(wav: File, file: File): Boolean = ran("-y", "-i", wav.path, file.path)

    private fun ran(vararg words: String): Boolean =
        try {
            val command = listOf("ffmpeg", "-v", "quiet", "-nostdin", *words)
            ProcessBuilder(command).redirectErrorStream(true).start().run {
                inputStream.readBytes()
                waitFor() == 0
            }
        } catch (_: IOException) {
            false
        }
}
