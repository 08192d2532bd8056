package org.fedvoice.dictation

import android.Manifest
import android.app.AlertDialog
import android.app.Application
import android.content.DialogInterface
import android.content.pm.PackageManager
import android.os.Looper
import android.widget.Button
import android.widget.EditText
import android.widget.Switch
import android.widget.TextView
import org.fedvoice.core.session.Books
import org.fedvoice.core.store.Source
import org.fedvoice.core.training.UsageCounts
import org.fedvoice.sdk.FedVoice
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowAlertDialog
import org.robolectric.shadows.ShadowAudioRecord

/** A person's way through the app, on each Android version that it supports. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [28, 34, 35])
class DictationTest {
    private val app: Application get() = RuntimeEnvironment.getApplication()
    private val screen by lazy { Robolectric.buildActivity(MainActivity::class.java).setup().get() }
    private val message get() = screen.findViewById<TextView>(R.id.message).text.toString()
    private val voice get() = FedVoice.get(app)

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
        button(R.id.record).performClick()
        screen.onRequestPermissionsResult(
            0,
            arrayOf(),
            intArrayOf(PackageManager.PERMISSION_DENIED),
        )

        assertTrue("microphone" in message)
    }

    @Test
    fun `a person dictates, corrects and keeps, and the phone holds it`() {
        shadowOf(app).grantPermissions(Manifest.permission.RECORD_AUDIO)
        button(R.id.record).performClick()
        assertEquals(app.getString(R.string.stop), button(R.id.record).text)
        waitFor { message.isNotEmpty() }
        assertEquals(app.getString(R.string.no_model), message)
        assertEquals(app.getString(R.string.record), button(R.id.record).text)

        screen.findViewById<EditText>(R.id.transcript).setText("turn on the light")
        button(R.id.keep).performClick()
        waitFor { message == app.getString(R.string.kept) }

        assertEquals(1, voice.exampleCount)
        assertTrue("(1 kept here)" in books)
        assertFalse("left out" in books)
    }

    @Test
    fun `a person sees what the last learning left out`() {
        screen.showBooks(Books(usage = UsageCounts(12, mapOf("too-long" to 2))))

        assertTrue(books, books.endsWith("\nLast learning: 12 used, 2 left out: 2 too-long"))
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
        waitFor { screen.isIdle }
        assertFalse(consent.isChecked || voice.consent)
    }

    @Test
    fun `a damaged invitation is explained`() {
        screen.findViewById<EditText>(R.id.invitation).setText("fedvoice1:nonsense")
        button(R.id.join).performClick()
        waitFor { message.isNotEmpty() }

        assertTrue(message, "invitation" in message)
        assertFalse(voice.isEnrolled)
    }

    @Test
    fun `deleting asks first, then leaves nothing`() {
        voice.addExample(
            ShortArray(800),
            Microphone.SAMPLE_RATE,
            "secret",
            Source.PROMPT,
        )
        button(R.id.delete).performClick()
        val dialog = ShadowAlertDialog.getLatestDialog() as AlertDialog
        assertEquals(1, voice.exampleCount)

        dialog.getButton(DialogInterface.BUTTON_POSITIVE).performClick()
        waitFor { message == app.getString(R.string.deleted) }

        assertEquals(0, voice.exampleCount)
    }

    @Test
    fun `learning now needs consent`() {
        button(R.id.train_now).performClick()
        waitFor { message.isNotEmpty() }

        assertTrue(message, "agreed" in message)
    }

    private val books get() = screen.findViewById<TextView>(R.id.books).text.toString()

    private fun button(id: Int) = screen.findViewById<Button>(id)

    private fun waitFor(condition: () -> Boolean) {
        val end = System.nanoTime() + 10_000_000_000
        while (!condition()) {
            check(
                System.nanoTime() < end,
            ) { "waited ten seconds in vain; the message is '$message'" }
            shadowOf(Looper.getMainLooper()).idle()
            Thread.sleep(5)
        }
    }
}
