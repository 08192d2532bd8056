package org.fedvoice.sdk

import android.util.Log
import kotlinx.coroutines.runBlocking
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Bucket
import org.fedvoice.core.model.FeatureSettings
import org.fedvoice.core.model.ParameterTable
import org.fedvoice.core.model.TargetKind
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.model.Vocabulary
import org.fedvoice.core.store.Audio
import org.fedvoice.core.store.Source
import org.fedvoice.core.store.Split
import org.fedvoice.core.store.wavOf
import org.fedvoice.core.training.LeftOut
import org.fedvoice.core.training.Usage
import org.fedvoice.core.training.UsageCounts
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.shadows.ShadowLog
import java.io.File

/** Nothing is left out in silence: the app can ask, and the log says it once. */
class UsageTest : SdkTest() {
    @Test
    fun `before the first task nothing is known and nothing is warned of`() {
        addExample("turn on the light", 48000)

        assertNull(voice.usage())
        assertTrue(warnings().isEmpty())
    }

    @Test
    fun `any usual rate is learnt from, as it is`() {
        FedVoice.start(app, FedVoiceConfig(testShare = 0.0))
        phone.given = task()
        val rates = listOf(8000, 11025, 44100, 48000, 96000, 192000)
        for (rate in rates) {
            voice.addExample(ShortArray(rate / 10), rate, "light", Source.CORRECTION)
        }
        for (rate in listOf(0, -1, 7999, 192001)) {
            val error =
                assertThrows(FedvoiceException::class.java) { addExample("light", rate) }
            assertEquals(ErrorCode.WRONG_SAMPLE_RATE, error.code)
        }

        assertEquals(Usage(rates.size), voice.usage())
        assertTrue(warnings().isEmpty())
        assertEquals(rates, voice.store().examples(Split.TRAIN).map { it.sampleRate })
    }

    @Test
    fun `a long recording at a high rate comes back whole`() {
        val pcm = ShortArray(192_000 * 60) { (it % 1000).toShort() }
        val id = voice.addExample(pcm, 192_000, "light", Source.CORRECTION)

        val stored = Split.entries.flatMap(voice.store()::examples).single { it.id == id }
        val audio = voice.store().audio(stored) as Audio.Held
        assertArrayEquals(wavOf(pcm, 192_000), audio.wav)
    }

    @Test
    fun `a sound file is kept with its own rate, and too long a one is not`() {
        val wav = File.createTempFile("recorded", ".wav").apply { deleteOnExit() }
        val pcm = ShortArray(4410) { (it % 1000).toShort() }
        wav.writeBytes(wavOf(pcm, 44_100))
        val id = voice.addExample(wav, "light", Source.OWN)
        wav.writeBytes(wavOf(ShortArray(8000 * 60 + 1), 8000))
        val long =
            assertThrows(FedvoiceException::class.java) {
                voice.addExample(wav, "light", Source.OWN)
            }
        wav.writeBytes(wavOf(pcm, 7999))
        val slow =
            assertThrows(FedvoiceException::class.java) {
                voice.addExample(wav, "light", Source.OWN)
            }
        assertTrue(wav.delete())
        val gone =
            assertThrows(FedvoiceException::class.java) {
                voice.addExample(wav, "light", Source.OWN)
            }

        assertEquals(
            listOf(
                ErrorCode.UNREADABLE_AUDIO,
                ErrorCode.WRONG_SAMPLE_RATE,
                ErrorCode.MISSING_AUDIO,
            ),
            listOf(long, slow, gone).map { it.code },
        )
        val stored = Split.entries.flatMap(voice.store()::examples).single()
        assertEquals(id, stored.id)
        assertEquals(44_100, stored.sampleRate)
        assertArrayEquals(wavOf(pcm, 44_100), (voice.store().audio(stored) as Audio.Held).wav)
    }

    @Test
    fun `an app learns why nothing trains`() {
        FedVoice.start(app, FedVoiceConfig(testShare = 0.0))
        phone.given = task()
        val tooShort = addExample("light", 48000)
        addExample("light on", 48000)
        val unknown = addExample("zebra", 16000)
        addExample("Light  ON", 16000)

        val expected =
            Usage(
                1,
                mapOf(
                    "too-short" to LeftOut(2, "stored example $tooShort"),
                    "unknown-token" to LeftOut(1, "stored example $unknown"),
                ),
            )
        assertEquals(expected, voice.usage())
        val (length, word) = warnings()
        assertTrue(length, "stored example $tooShort is kept" in length)
        assertTrue(length, "too-short (800 samples at 48000 Hz; the task takes 16000" in length)
        assertTrue(word, "unknown-token" in word)
        assertEquals("once for each reason", 2, warnings().size)
        assertFalse("no word of what was said", warnings().any { "zebra" in it })
        assertEquals(4, voice.exampleCount)
    }

    @Test
    fun `utterances for measuring count too, and may have other words`() {
        FedVoice.start(app, FedVoiceConfig(testShare = 1.0))
        phone.given = task()
        addExample("zebra", 16000)

        assertEquals(Usage(1), voice.usage())
        assertTrue(warnings().isEmpty())
    }

    @Test
    fun `the status has what the last training left out`() =
        runBlocking {
            agree()
            val counts = UsageCounts(7, mapOf("too-short" to 2))
            phone.work = { FakePhone.trained().copy(usage = counts) }
            voice.session()
            phone.work = { FakePhone.trained() }
            voice.session()

            assertEquals(counts, voice.status.usage)
        }

    private fun addExample(text: String, rate: Int) =
        voice.addExample(ShortArray(800) { it.toShort() }, rate, text, Source.CORRECTION)

    private fun warnings() =
        ShadowLog
            .getLogsForTag(TAG)
            .orEmpty()
            .filter { it.type == Log.WARN }
            .map { it.msg }

    private fun task() =
        TaskManifest(
            name = "lights",
            modelKind = "softmax",
            model = emptyMap(),
            parameters = ParameterTable(emptyList(), totalSize = 0),
            features = FeatureSettings(),
            buckets = listOf(Bucket("t100", frames = 100, labels = 4, batch = 4)),
            vocabulary = Vocabulary(TargetKind.WORD, listOf("<blank>", "light", "on")),
            programDigest = "00",
            weightsDigest = "00",
        )
}
