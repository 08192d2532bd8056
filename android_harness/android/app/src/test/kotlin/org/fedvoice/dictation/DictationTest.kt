package org.fedvoice.dictation

import android.Manifest
import android.content.pm.PackageManager
import android.widget.EditText
import android.widget.Switch
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOf
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.fedvoice.sdk.HeardText
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowAudioRecord

/** A person's way through the main screen. */
class DictationTest : AppTest() {
    private val screen by lazy { Robolectric.buildActivity(MainActivity::class.java).setup().get() }

    @Before
    fun aMicrophoneThatHearsARamp() {
        ShadowAudioRecord.setSourceProvider {
            object : ShadowAudioRecord.AudioRecordSource {
                override fun readInShortArray(
                    audio: ShortArray,
                    offset: Int,
                    count: Int,
                    blocking: Boolean,
                ): Int {
                    for (i in 0 until count) audio[offset + i] = i.toShort()
                    return count
                }
            }
        }
    }

    @After
    fun noTraceForTheNextTest() = ShadowAudioRecord.clearSource()

    @Test
    fun `without the microphone it says what is missing`() {
        screen.button(R.id.record).performClick()
        screen.onRequestPermissionsResult(
            0,
            arrayOf(),
            intArrayOf(PackageManager.PERMISSION_DENIED),
        )

        assertEquals(text(R.string.no_microphone), screen.message)
    }

    @Test
    fun `a person dictates, corrects and keeps, and the phone holds it`() {
        shadowOf(app).grantPermissions(Manifest.permission.RECORD_AUDIO)
        screen.button(R.id.record).performClick()
        assertEquals(text(R.string.stop), screen.text(R.id.record))
        screen.settle()
        assertEquals(text(R.string.no_model), screen.message)
        assertEquals(text(R.string.record), screen.text(R.id.record))

        screen.findViewById<EditText>(R.id.transcript).setText("turn on the light")
        screen.button(R.id.keep).performClick()
        screen.settle()

        assertEquals(text(R.string.kept), screen.message)
        assertEquals("turn on the light", voice.examples().single().transcript)
    }

    @Test
    fun `text comes while a person speaks, and what is kept is the whole recording`() {
        shadowOf(app).grantPermissions(Manifest.permission.RECORD_AUDIO)
        val transcript = screen.findViewById<EditText>(R.id.transcript)
        val isHeard = CompletableDeferred<Unit>()
        screen.dictation =
            Dictation({ true }, { sound -> heard(sound, isHeard) }, { error("not asked for") })
        transcript.setText("of the last recording")

        screen.button(R.id.record).performClick()
        waitFor { screen.text(R.id.transcript) == "turn on the" }
        assertEquals(text(R.string.stop), screen.text(R.id.record))
        assertFalse(screen.button(R.id.keep).isEnabled)
        screen.button(R.id.record).performClick()
        isHeard.complete(Unit)
        screen.settle()

        assertEquals("turn on the light", screen.text(R.id.transcript))
        screen.button(R.id.keep).performClick()
        screen.settle()
        val kept = voice.examples().single()
        assertEquals("turn on the light", kept.transcript)
        assertTrue(kept.durationSecs > 0)
    }

    /** An utterance, a partial one, and once [isOver] what it comes to at the end of the sound. */
    private fun heard(sound: Flow<ShortArray>, isOver: CompletableDeferred<Unit>) =
        flow {
            var samples = 0
            coroutineScope {
                launch { sound.collect { samples += it.size } }
                emit(HeardText("turn", 0.0, 0.2, isFinal = false))
                emit(HeardText("turn on", 0.0, 1.0, isFinal = true))
                emit(HeardText("the", 1.0, 1.2, isFinal = false))
                isOver.await()
            }
            emit(HeardText("the light", 1.0, samples / 16e3, isFinal = true))
        }

    @Test
    fun `a task that hears whole recordings only is asked at the end`() =
        runBlocking {
            val sound = flowOf(shortArrayOf(1, 2), shortArrayOf(3))
            val dictation = Dictation({ false }, { error("it cannot") }, { it.joinToString() })

            assertEquals(listOf("", "1, 2, 3"), dictation.texts(sound).toList())
        }

    @Test
    fun `words are asked for when there are none`() {
        shadowOf(app).grantPermissions(Manifest.permission.RECORD_AUDIO)
        screen.button(R.id.record).performClick()
        screen.settle()
        screen.button(R.id.keep).performClick()
        screen.settle()

        assertEquals(text(R.string.error_empty), screen.message)
        assertTrue(voice.examples().isEmpty())
        assertTrue("the recording is still there to keep", screen.button(R.id.keep).isEnabled)
    }

    @Test
    fun `consent is off until the switch is turned, and turned back it is off again`() {
        val consent = screen.findViewById<Switch>(R.id.consent)
        assertFalse(consent.isChecked || voice.consent)

        consent.performClick()
        waitFor { voice.consent }
        consent.performClick()
        // Whatever ends meanwhile, the switch stands where the person put it last.
        waitFor {
            assertFalse(consent.isChecked)
            !voice.consent
        }
        screen.settle()
        assertFalse(consent.isChecked || voice.consent)
    }

    @Test
    fun `the answer's button is the next thing to do`() {
        screen.settle()
        assertEquals(text(R.string.answer_consent), screen.text(R.id.answer))
        assertEquals(text(R.string.action_consent), screen.text(R.id.act))

        screen.button(R.id.act).performClick()
        screen.settle()
        assertTrue(voice.consent && screen.findViewById<Switch>(R.id.consent).isChecked)
        assertEquals(text(R.string.answer_enrolment), screen.text(R.id.answer))

        screen.button(R.id.act).performClick()
        assertTrue(screen.view(R.id.invitation).isFocused)
    }

    @Test
    fun `a damaged invitation is explained`() {
        screen.findViewById<EditText>(R.id.invitation).setText("fedvoice1:nonsense")
        screen.button(R.id.join).performClick()
        screen.settle()

        assertEquals(text(R.string.error_credentials), screen.message)
        assertFalse(voice.isEnrolled)
    }

    @Test
    fun `learning now needs consent`() {
        screen.button(R.id.train_now).performClick()
        screen.settle()
        assertEquals(text(R.string.answer_consent), screen.message)
        assertEquals(null, shadowOf(app).nextStartedService)

        screen.findViewById<Switch>(R.id.consent).performClick()
        screen.settle()
        screen.button(R.id.train_now).performClick()
        screen.settle()
        assertEquals(text(R.string.train_started), screen.message)
        assertTrue(
            shadowOf(app)
                .nextStartedService.component!!
                .className
                .endsWith("TrainingService"),
        )
    }
}
