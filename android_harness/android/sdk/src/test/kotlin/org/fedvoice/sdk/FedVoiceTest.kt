package org.fedvoice.sdk

import android.app.job.JobScheduler
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.session.Topic
import org.fedvoice.core.store.Audio
import org.fedvoice.core.store.Source
import org.fedvoice.core.store.Split
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.File
import java.io.IOException

class FedVoiceTest : SdkTest() {
    private val pending get() = app.getSystemService(JobScheduler::class.java).allPendingJobs

    @Test
    fun `nothing happens before the person agrees`() {
        FedVoice.start(app)

        assertFalse(voice.consent)
        assertTrue(pending.isEmpty())
        assertThrows(IllegalArgumentException::class.java) { voice.trainNow() }
    }

    @Test
    fun `with consent, starting the app schedules a session`() {
        agree()
        Schedule.cancel(app, voice.config.jobId)

        start(FedVoiceConfig(jobId = 99))

        assertEquals(99, pending.single().id)
    }

    @Test
    fun `taking consent back stops the session and withdraws what was not sent`() =
        runBlocking {
            agree()
            unsentUpdate()
            addExample("keep me")
            val running = CompletableDeferred<Unit>()
            phone.work = { shouldStop ->
                running.complete(Unit)
                while (!shouldStop()) delay(1)
                FakePhone.trained()
            }
            val session = async(Dispatchers.Default) { voice.session() }
            running.await()

            voice.setConsent(false)
            session.await()

            assertFalse(unsent.exists())
            assertTrue(pending.isEmpty())
            assertEquals(1, voice.exampleCount)
        }

    @Test
    fun `an upload that is under way when consent is taken back is broken off`() =
        runBlocking {
            agree()
            val session = uploading()

            voice.setConsent(false)

            assertNull(withTimeout(5000) { session.await() })
            assertEquals(0, voice.status.trained)
        }

    @Test
    fun `nothing that fails in a session ends the host app`() =
        runBlocking {
            agree()
            phone.work = { throw IllegalStateException("a bug") }
            assertTrue(voice.session()!! > 0)
            phone.work = { throw IOException("a disk") }
            assertTrue(voice.session()!! > 0)

            assertEquals(2, voice.status.failures)
            assertEquals("io", voice.status.lastError)
        }

    @Test
    fun `deleting everything leaves no speech, no unsent update, no identity and no consent`() =
        runBlocking {
            agree()
            unsentUpdate()
            val secret = "zebra xylophone"
            addExample(secret)
            files.identity.mkdirs()
            File(files.identity, "key.pem").writeText("key")
            voice.session()

            voice.deleteEverything()

            assertEquals(0, voice.exampleCount)
            assertFalse(voice.consent || unsent.exists() || files.identity.exists())
            assertEquals(0, voice.status.sessions)
            val left =
                files.root
                    .walk()
                    .filter(
                        File::isFile,
                    ).map { it.readText(Charsets.ISO_8859_1) }
            assertFalse(left.any { secret in it })
        }

    @Test
    fun `an utterance comes back as it was recorded`() {
        val pcm = ShortArray(1600) { (it * 7 % 3000 - 1500).toShort() }
        voice.addExample(pcm, 16000, "Turn  ON the light", Source.PROMPT)

        val stored = voice.store().examples(Split.TRAIN).single()

        assertEquals("Turn ON the light", stored.transcript)
        assertEquals(Source.PROMPT, stored.source)
        val wav = (voice.store().audio(stored) as Audio.Held).wav
        assertEquals(44 + 2 * pcm.size, wav.size)
        assertArrayEquals(
            byteArrayOf(pcm[0].toByte(), (pcm[0].toInt() shr 8).toByte()),
            wav.copyOfRange(44, 46),
        )
    }

    @Test
    fun `some utterances are kept for measuring, as many as the share says`() {
        FedVoice.start(app, FedVoiceConfig(testShare = 0.25))

        repeat(12) { addExample("word") }

        assertEquals(3, voice.store().count(Split.TEST))
        assertEquals(9, voice.store().count(Split.TRAIN))
    }

    @Test
    fun `a full store lets the oldest go`() {
        FedVoice.start(app, FedVoiceConfig(maxExamples = 3, testShare = 0.0))

        for (word in listOf("one", "two", "three", "four")) addExample(word)

        val left = voice.store().examples(Split.TRAIN).map { it.transcript }
        assertEquals(listOf("two", "three", "four"), left)
    }

    @Test
    fun `speech that is older than its time to live is gone`() {
        FedVoice.start(app, FedVoiceConfig(exampleTimeToLiveDays = 1))
        addExample("today")
        assertEquals(1, voice.exampleCount)

        FedVoice.start(app, FedVoiceConfig(exampleTimeToLiveDays = 0))
        Thread.sleep(5)

        assertEquals(0, voice.exampleCount)
    }

    @Test
    fun `too long a recording and one without words are refused`() {
        val long =
            assertThrows(FedvoiceException::class.java) {
                voice.addExample(ShortArray(61 * 16000), 16000, "long", Source.OWN)
            }
        val wordless = assertThrows(FedvoiceException::class.java) { addExample("  ") }

        assertEquals(ErrorCode.UNREADABLE_AUDIO, long.code)
        assertEquals(ErrorCode.EMPTY_TRANSCRIPT, wordless.code)
        assertEquals(0, voice.exampleCount)
    }

    @Test
    fun `recognition takes samples between -1 and 1`() =
        runBlocking {
            assertEquals("800 samples", voice.recognize(ShortArray(800)))
            val heard = voice.recognize(ShortArray(2400), 48000)
            assertEquals("2400 samples at 48000 Hz", heard)
        }

    @Test
    fun `a phone says why it does not train, one thing after the other`() =
        runBlocking {
            conditions(charging = false)
            phone.isEnrolled = false
            assertEquals(Topic.CONSENT, voice.explain().obstacle?.topic)
            agree()
            assertEquals(Topic.ENROLMENT, voice.explain().obstacle?.topic)
            phone.isEnrolled = true
            assertEquals(Topic.EXAMPLES, voice.explain().obstacle?.topic)
            voice.addExample(ShortArray(1600) { 9 }, 16000, "light", Source.CORRECTION)
            assertEquals(Topic.CHARGING, voice.explain().obstacle?.topic)
            conditions()
            assertNull(voice.explain().obstacle)

            phone.work = { throw FedvoiceException(ErrorCode.NO_SPACE, "a", "b", "c", "d") }
            voice.session()
            val sentence = voice.explain().sentence
            assertTrue(sentence, "no-space" in sentence)
        }

    @Test
    fun `sessions wait for each other`() =
        runBlocking {
            agree()
            var inside = 0
            var most = 0
            phone.work = {
                inside += 1
                most = maxOf(most, inside)
                delay(20)
                inside -= 1
                FakePhone.trained()
            }

            List(3) { async(Dispatchers.Default) { voice.session() } }.forEach { it.await() }

            assertEquals(1, most)
        }

    private fun addExample(text: String) =
        voice.addExample(ShortArray(800) { it.toShort() }, 16000, text, Source.CORRECTION)

    private val unsent get() = File(files.session, "report.payload")

    private fun unsentUpdate() {
        files.session.mkdirs()
        unsent.writeText("update")
    }
}
