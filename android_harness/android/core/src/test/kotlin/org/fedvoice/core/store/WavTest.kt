package org.fedvoice.core.store

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.FeatureSettings
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import java.io.File

class WavTest {
    private val settings = FeatureSettings()

    @Test
    fun `what is recorded is read back`() {
        val wav = wavOf(shortArrayOf(0, 1, -1, 32767, -32768), 16000)
        assertEquals(AudioFacts(16000, 5), readFacts(Audio.Held(wav), "here"))
        val wanted = floatArrayOf(0f, 1 / 32768f, -1 / 32768f, 32767 / 32768f, -1f)
        assertArrayEquals(wanted, readWaveform(Audio.Held(wav), settings, "here"))
    }

    @Test
    fun `a recorder that was killed leaves no length behind`() {
        val wav = wavOf(ShortArray(100), 16000)
        for (i in 40..43) wav[i] = 0
        assertEquals(100, readFacts(Audio.Held(wav), "here").samples)
        assertEquals(
            90,
            readFacts(Audio.Held(wavOf(ShortArray(100), 16000).copyOf(224)), "").samples,
        )
    }

    @Test
    fun `bits are those of their container`() {
        val wav = wavOf(shortArrayOf(16, -32), 16000)
        wav[34] = 12
        val wanted = floatArrayOf(16 / 32768f, -32 / 32768f)
        assertArrayEquals(wanted, readWaveform(Audio.Held(wav), settings, "here"))
    }

    @Test
    fun `what cannot be read is named`() {
        val flac = "fLaC".toByteArray() + ByteArray(100)
        val error = refused(Audio.Held(flac))
        assertEquals(ErrorCode.UNREADABLE_AUDIO, error.code)
        assertTrue("flac" in error.got)
        for (bytes in listOf(
            ByteArray(0),
            ByteArray(100),
            wavOf(ShortArray(9), 16000).copyOf(30),
        )) {
            assertEquals(ErrorCode.UNREADABLE_AUDIO, refused(Audio.Held(bytes)).code)
        }
        assertEquals(ErrorCode.MISSING_AUDIO, refused(Audio.InFile(File("/nowhere.wav"))).code)
        val slow = Audio.Held(wavOf(ShortArray(9), 4000))
        val other = assertThrows<FedvoiceException> { readWaveform(slow, settings, "here") }
        assertEquals(ErrorCode.WRONG_SAMPLE_RATE, other.code)
    }

    @Test
    fun `another rate is heard at the task's`() {
        val wav = Audio.Held(wavOf(ShortArray(3000) { 8192 }, 48000))
        val found = readWaveform(wav, settings, "here")
        assertEquals(1000, found.size)
        assertEquals(0.25f, found[500], 1e-4f)
    }

    private fun refused(audio: Audio) = assertThrows<FedvoiceException> { readFacts(audio, "here") }
}
