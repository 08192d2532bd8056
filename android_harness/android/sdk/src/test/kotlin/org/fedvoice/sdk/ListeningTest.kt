package org.fedvoice.sdk

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.asFlow
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.emptyFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.onCompletion
import kotlinx.coroutines.flow.onStart
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.recognition.demandStreaming
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.File
import java.io.IOException
import java.util.concurrent.atomic.AtomicInteger

/** A host app shows what is said while it is said. */
class ListeningTest : SdkTest() {
    private var engine = LoudnessEngine().also { phone.engine = it }

    @Test
    fun `text comes while one speaks, and each utterance when it has ended`() {
        val heard = listen(SAID)

        val (finals, partial) = heard.partition { it.isFinal }
        assertEquals(listOf("yes yes", "yes", ""), finals.map { it.text })
        assertEquals(listOf("yes", "yes yes", "yes"), partial.map { it.text })
        for ((earlier, later) in heard.zipWithNext()) {
            assertTrue(earlier.endSecs <= later.endSecs)
            assertEquals(earlier.isFinal, later.beginSecs > earlier.beginSecs)
        }
        val secs = SAID.size / RATE.toDouble()
        assertEquals(secs, heard.last().endSecs, 0.2)
        assertTrue(engine.isClosed)
    }

    @Test
    fun `neither pieces nor another rate change what is heard`() {
        val wanted = listen(SAID)

        for (size in listOf(1000, SAID.size)) assertEquals(wanted, listen(SAID, size))
        // Twice the rate: each sample twice.
        val twice = ShortArray(2 * SAID.size) { SAID[it / 2] }
        val texts = listen(twice, rate = 2 * RATE).filter { it.isFinal }.map { it.text }
        assertEquals(wanted.filter { it.isFinal }.map { it.text }, texts)
    }

    @Test
    fun `a shorter pause ends more utterances`() {
        val texts = listen(SAID, settings = ListenSettings(pauseSecs = 0.3))

        assertEquals(3, texts.count { it.isFinal && it.text == "yes" })
    }

    @Test
    fun `nothing is done on the collector's thread`() {
        listen(SAID)

        assertTrue(engine.threads.isNotEmpty())
        assertFalse(Thread.currentThread() in engine.threads)
    }

    @Test
    fun `sound is taken while the program is loaded`() {
        runBlocking {
            val begun = CompletableDeferred<Unit>()
            val sound = pieces(SAID).onStart { begun.complete(Unit) }

            val heard =
                listening(sound, null, ListenSettings()) {
                    runBlocking { withTimeout(5000) { begun.await() } }
                    StreamingModel(engine, FloatArray(0))
                }

            assertEquals("yes yes", heard.first { it.isFinal }.text)
        }
    }

    @Test
    fun `a listener that leaves ends the sound and closes the program`() {
        var isOver = false
        val sound = endless().onCompletion { isOver = true }

        runBlocking { assertEquals("yes", voice.listen(sound).first().text) }

        assertTrue(isOver && engine.isClosed)
    }

    @Test
    fun `what the sound throws comes out, and the program is closed`() {
        val sound =
            flow<ShortArray> {
                emit(SAID)
                throw IOException("the microphone")
            }

        assertThrows(IOException::class.java) { runBlocking { voice.listen(sound).collect() } }

        assertTrue(engine.isClosed || engine.threads.isEmpty())
    }

    @Test
    fun `without a model, without streaming methods and at no usual rate it says so`() {
        assertEquals(ErrorCode.WRONG_SAMPLE_RATE, refusal { voice.listen(emptyFlow(), 7999) })
        for (settings in listOf(
            { ListenSettings(beam = 0) },
            { ListenSettings(beam = 257) },
            { ListenSettings(lmWeight = Double.NaN) },
            { ListenSettings(pauseSecs = Double.NaN) },
            { ListenSettings(longestSecs = 601.0) },
        )) {
            val error = refusal { voice.listen(emptyFlow(), settings = settings()) }
            assertEquals(ErrorCode.BAD_CONFIG, error)
        }
        phone.engine = null
        val recording = AtomicInteger()
        val sound =
            flow<ShortArray> { awaitCancellation() }
                .onStart { recording.incrementAndGet() }
                .onCompletion { recording.decrementAndGet() }
        assertEquals(ErrorCode.NOT_FOUND, refusal { voice.listen(sound) })
        assertEquals("the microphone is let go of", 0, recording.get())

        val whole = LoudnessEngine(loudness(null))
        phone.engine = whole
        assertEquals(ErrorCode.BAD_PACKAGE, refusal { voice.listen(emptyFlow()) })
        assertTrue(whole.isClosed)
    }

    @Test
    fun `a language model of the host's decides where sound does not`() {
        val arpa = File.createTempFile("model", ".arpa").apply { deleteOnExit() }
        // After one "yes" there is hardly ever a second.
        val grams = "-0.5\tyes\t0\n-0.5\t</s>\n\n\\2-grams:\n-40\tyes yes\n\n\\end\\\n"
        arpa.writeText("\\data\\\n\n\\1-grams:\n-99\t<s>\t0\n$grams")
        val settings = ListenSettings(beam = 4, languageModel = arpa, lmWeight = 10.0)

        val texts = listen(SAID, settings = settings).filter { it.isFinal }.map { it.text }
        assertEquals(listOf("yes", "yes", ""), texts)

        val missing = ListenSettings(languageModel = File("/nowhere/lm.arpa"))
        assertEquals(ErrorCode.NOT_FOUND, refusal { voice.listen(emptyFlow(), settings = missing) })
        arpa.writeText("no model")
        val bad = ListenSettings(languageModel = arpa)
        assertEquals(ErrorCode.BAD_CONFIG, refusal { voice.listen(emptyFlow(), settings = bad) })
    }

    @Test
    fun `whether it can listen is known beforehand`() =
        runBlocking {
            assertFalse(voice.canListen())
            phone.given = loudness(null)
            assertFalse(voice.canListen())
            phone.given = loudness(engine.manifest.demandStreaming())
            assertTrue(voice.canListen())
        }

    private fun refusal(listen: () -> Flow<HeardText>): ErrorCode =
        assertThrows(FedvoiceException::class.java) { runBlocking { listen().collect() } }.code

    private fun listen(
        pcm: ShortArray,
        size: Int = 1600,
        rate: Int? = null,
        settings: ListenSettings = ListenSettings(),
    ): List<HeardText> {
        engine = LoudnessEngine().also { phone.engine = it }
        return runBlocking { voice.listen(pieces(pcm, size), rate, settings).toList() }
    }

    private fun pieces(pcm: ShortArray, size: Int = 1600): Flow<ShortArray> =
        pcm
            .toList()
            .chunked(size)
            .map { it.toShortArray() }
            .asFlow()

    private fun endless() = flow { while (true) emit(SAID) }

    private companion object {
        const val RATE = 16000

        /** Silence of 1 s, two words, 1.5 s, a word, 2 s. */
        val SAID = sound(1.0, -0.2, 0.5, -0.2, 1.5, -0.2, 2.0)

        /** Silent for so many seconds; those below 0 loud. */
        fun sound(vararg secs: Double): ShortArray =
            secs
                .flatMap { part ->
                    val level: Short = if (part < 0) 9000 else 0
                    List((kotlin.math.abs(part) * RATE).toInt()) { level }
                }.toShortArray()
    }
}
