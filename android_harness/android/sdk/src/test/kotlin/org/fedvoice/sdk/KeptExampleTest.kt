package org.fedvoice.sdk

import kotlinx.coroutines.runBlocking
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.session.SessionRecord
import org.fedvoice.core.session.Traffic
import org.fedvoice.core.store.Source
import org.fedvoice.wire.Statistics
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

/** What a person may look at: what the phone holds of them, and what it sent. */
class KeptExampleTest : SdkTest() {
    private val pcm = ShortArray(8000) { (4 * it - 16000).toShort() }

    @Test
    fun `examples are told newest first, with the rounds they were learnt from`() {
        val first = voice.addExample(pcm, 16000, "turn on the light", Source.CORRECTION)
        val second = voice.addExample(pcm, 8000, "call zoe", Source.PROMPT)
        voice.store().markUsed(listOf(first), round = 7)
        voice.store().markUsed(listOf(first), round = 3)

        val told = voice.examples()

        assertEquals(listOf(second, first), told.map { it.id })
        assertEquals(listOf(emptyList(), listOf(3, 7)), told.map { it.rounds })
        assertEquals(listOf(1.0, 0.5), told.map { it.durationSecs })
        assertEquals(listOf("call zoe", "turn on the light"), told.map { it.transcript })
    }

    @Test
    fun `an example that measures is told as such`() {
        start(FedVoiceConfig(testShare = 0.5))
        repeat(2) { voice.addExample(pcm, 16000, "yes", Source.OWN) }

        assertEquals(listOf(true, false), voice.examples().map { it.isForMeasuring })
    }

    @Test
    fun `what is played is what was recorded, to the sample`() {
        val id = voice.addExample(pcm, 16000, "turn on the light", Source.CORRECTION)

        val sound = voice.sound(id)

        assertEquals(16000, sound.sampleRate)
        assertArrayEquals(pcm, sound.pcm)
    }

    @Test
    fun `a deleted example has no sound, and the error says so`() {
        val id = voice.addExample(pcm, 16000, "turn on the light", Source.CORRECTION)
        voice.deleteExample(id)

        val error = assertThrows(FedvoiceException::class.java) { voice.sound(id) }

        assertEquals(ErrorCode.NOT_FOUND, error.code)
        assertEquals(emptyList<KeptExample>(), voice.examples())
    }

    @Test
    fun `what was sent is told, newest first, failed sessions too`() =
        runBlocking {
            agree()
            voice.sessions.clock = HandClock(wall = 1.7e9)
            voice.session()
            phone.work = {
                phone.traffic = Traffic().apply { sent(Statistics.getDefaultInstance()) }
                throw FakePhone.failure(ErrorCode.SERVER_UNREACHABLE)
            }
            voice.session()
            val sent = phone.traffic.bytesUp
            phone.work = { throw FakePhone.failure(ErrorCode.SERVER_UNREACHABLE) }
            voice.session()

            val told = voice.sessions()

            assertEquals(
                listOf(
                    SessionRecord(1.7e9, "server-unreachable", bytesUp = sent),
                    SessionRecord(1.7e9, "trained", 3, 1000, 2000, examples = 7),
                ),
                told,
            )
        }

    @Test
    fun `what a session had sent when it was broken off is told too`() =
        runBlocking {
            agree()
            val session = uploading()
            phone.traffic.sent(Statistics.getDefaultInstance())

            voice.setConsent(false)
            session.await()

            val told = voice.sessions().single()
            assertEquals("interrupted", told.happened)
            assertEquals(phone.traffic.bytesUp, told.bytesUp)
        }
}
