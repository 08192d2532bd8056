package org.fedvoice.dictation

import android.Manifest
import android.content.pm.PackageManager
import android.widget.EditText
import android.widget.Switch
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
