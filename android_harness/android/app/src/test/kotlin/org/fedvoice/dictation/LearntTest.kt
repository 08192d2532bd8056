package org.fedvoice.dictation

import android.app.AlertDialog
import android.content.DialogInterface
import android.view.View
import android.widget.ListView
import android.widget.RadioButton
import android.widget.Switch
import android.widget.TextView
import org.fedvoice.core.session.Books
import org.fedvoice.core.session.SessionRecord
import org.fedvoice.core.store.Source
import org.fedvoice.core.training.UsageCounts
import org.fedvoice.sdk.KeptExample
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Robolectric
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowAudioTrack
import org.robolectric.shadows.ShadowDialog

/** A person looks at what the phone learnt and sent. */
@Config(sdk = [35], qualifiers = "w360dp-h1600dp")
class LearntTest : AppTest() {
    private val opened by lazy { Robolectric.buildActivity(LearntActivity::class.java).setup() }
    private val screen: LearntActivity get() = opened.get()
    private val list get() = screen.findViewById<ListView>(R.id.list)

    @Test
    fun `where there is nothing, it says so`() {
        screen.settle()
        assertEquals(text(R.string.none_kept), (rows().single() as TextView).text)

        screen.findViewById<RadioButton>(R.id.show_sent).performClick()
        screen.settle()
        assertEquals(text(R.string.none_sent), (rows().single() as TextView).text)
    }

    @Test
    @Config(sdk = [28, 34, 35])
    fun `an example is listed, played and deleted`() {
        keep("turn on the light")
        keep("good morning")
        screen.settle()
        assertEquals(listOf("good morning", "turn on the light"), rows().map { it.words() })
        assertTrue(rows()[1].text(R.id.`when`).endsWith(" · 1.5 sec"))
        assertEquals(text(R.string.not_learnt_from), rows()[1].text(R.id.rounds))

        val play = rows()[1].findViewById<View>(R.id.play)
        assertEquals("Play: turn on the light", play.contentDescription)
        var heardBytes = 0
        ShadowAudioTrack.addAudioDataListener { _, bytes, _ -> heardBytes += bytes.size }
        play.performClick()
        waitFor { rows()[1].says(R.id.play, "Stop: turn on the light") }
        screen.settle()
        waitFor { rows()[1].says(R.id.play, "Play: turn on the light") }
        assertEquals("", screen.message)
        assertEquals("all of it was heard", Short.SIZE_BYTES * 24_000, heardBytes)

        rows()[1].findViewById<View>(R.id.delete).performClick()
        assertEquals("it asks first", 2, voice.examples().size)
        answer(DialogInterface.BUTTON_POSITIVE)
        assertEquals("Deleted: turn on the light", screen.message)
        assertEquals(listOf("good morning"), rows().map { it.words() })
        assertEquals(listOf("good morning"), voice.examples().map { it.transcript })
    }

    @Test
    fun `one that was deleted meanwhile is not played, and it says so`() {
        keep("good morning")
        screen.settle()
        voice.deleteExample(voice.examples().single().id)
        rows().single().findViewById<View>(R.id.play).performClick()
        screen.settle()

        assertEquals(text(R.string.error_gone), screen.message)
        assertEquals(text(R.string.none_kept), (rows().single() as TextView).text)
    }

    @Test
    fun `what was sent stands there in plain words`() {
        screen.settle()
        val sessions =
            listOf(
                SessionRecord(1.7e9, "trained", 3, 9_400_000, 12_000, examples = 7),
                SessionRecord(1.6e9, "server-unreachable", null, 0, 120),
                SessionRecord(1.5e9, "internal", null, 80, 120),
            )
        screen.show(emptyList(), sessions, Books())
        screen.findViewById<RadioButton>(R.id.show_sent).performClick()
        waitFor { rows().size == 3 }

        val (trained, unreachable, failed) = rows()
        val accepted = "Update accepted and averaged with those of others"
        assertEquals("$accepted\nLearnt from 7 recordings", trained.words())
        assertTrue(trained.text(R.id.`when`), trained.text(R.id.`when`).endsWith("Round 3"))
        assertEquals("Sent 9.4 MB, received 12 kB", trained.text(R.id.traffic))
        assertEquals(text(R.string.sent_unreachable), unreachable.words())
        assertEquals("Ended by an error (internal)", failed.words())
    }

    @Test
    fun `what was learnt from says in which rounds, and what the last learning left out`() {
        screen.settle()

        fun example(id: Long, rounds: List<Int>, isForMeasuring: Boolean = false) =
            KeptExample(id, "one", Source.PROMPT, 3.4, 1.7e9, rounds, isForMeasuring)
        val examples =
            listOf(
                example(4, listOf(3)),
                example(3, listOf(3, 7, 12)),
                example(2, (1..40).toList()),
                example(1, emptyList(), isForMeasuring = true),
            )
        val books = Books(trained = 3, usage = UsageCounts(12, mapOf("too-long" to 2)))
        screen.show(examples, emptyList(), books)
        waitFor { rows().size == 4 }

        assertEquals(
            listOf(
                "Learnt from in round 3",
                "Learnt from in rounds 3, 7, and 12",
                "Learnt from in 40 rounds, last in round 40",
                "Only for measuring: never learnt from",
            ),
            rows().map { it.text(R.id.rounds) },
        )
        val totals = screen.text(R.id.totals)
        assertTrue(totals, totals.startsWith("Updates accepted: 3\n"))
        assertTrue(totals, totals.endsWith("\nLeft out when it last learnt: too long (2)"))
    }

    @Test
    fun `the switch works at once, and the screen opened again shows it`() {
        screen.settle()
        val consent = screen.findViewById<Switch>(R.id.consent)
        consent.performClick()
        screen.settle()
        assertTrue(voice.consent && consent.isChecked)

        consent.performClick()
        opened.pause().stop().destroy()
        waitFor { !voice.consent }
        val again = Robolectric.buildActivity(LearntActivity::class.java).setup().get()
        again.settle()
        assertFalse(again.findViewById<Switch>(R.id.consent).isChecked)
    }

    @Test
    fun `deleting everything asks first, then leaves nothing`() {
        keep("secret")
        screen.settle()
        screen.button(R.id.delete_all).performClick()
        answer(DialogInterface.BUTTON_NEGATIVE)
        assertEquals(1, voice.exampleCount)

        screen.button(R.id.delete_all).performClick()
        answer(DialogInterface.BUTTON_POSITIVE)
        assertEquals(text(R.string.deleted_all), screen.message)
        assertEquals(0, voice.exampleCount)
        assertEquals(text(R.string.none_kept), (rows().single() as TextView).text)
    }

    @Test
    fun `two thousand examples take as many views as the screen holds`() {
        screen.settle()
        val example = KeptExample(1, "one", Source.PROMPT, 3.4, 1.7e9, emptyList(), false)
        screen.show(List(2000) { example.copy(id = it.toLong()) }, emptyList(), Books())
        waitFor { rows().size > 2 }

        assertEquals(2001, list.adapter.count)
        assertTrue("${list.childCount} views", list.childCount < 40)
    }

    @Test
    @Config(sdk = [28, 34, 35])
    fun `turned round, it shows the same list`() {
        screen.settle()
        screen.findViewById<RadioButton>(R.id.show_sent).performClick()
        opened.recreate()
        screen.settle()

        assertTrue(screen.findViewById<RadioButton>(R.id.show_sent).isChecked)
        assertEquals(text(R.string.none_sent), (rows().single() as TextView).text)
    }

    private fun keep(words: String) =
        voice.addExample(ShortArray(24_000) { it.toShort() }, 16000, words, Source.PROMPT)

    /** What the list shows below its header. */
    private fun rows(): List<View> = List(list.childCount - 1) { list.getChildAt(it + 1) }

    private fun View.text(id: Int) = findViewById<TextView>(id).text.toString()

    private fun View.words() = text(R.id.words)

    private fun View.says(id: Int, what: String) =
        findViewById<View>(id).contentDescription.toString() == what

    private fun answer(button: Int) {
        (ShadowDialog.getLatestDialog() as AlertDialog).getButton(button).performClick()
        screen.settle()
        waitFor { list.childCount > 1 }
    }
}
