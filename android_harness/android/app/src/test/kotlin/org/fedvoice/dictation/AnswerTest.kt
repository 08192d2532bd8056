package org.fedvoice.dictation

import android.view.View
import org.fedvoice.core.session.Explanation
import org.fedvoice.core.session.ExplanationLine
import org.fedvoice.core.session.PersonsAction
import org.fedvoice.core.session.Standing
import org.fedvoice.core.session.Topic
import org.fedvoice.core.session.Wish
import org.junit.Assert.assertEquals
import org.junit.Test
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config

/** Why the phone does not learn now, in the person's language. */
@Config(sdk = [35])
class AnswerTest : AppTest() {
    private val screen by lazy { Robolectric.buildActivity(MainActivity::class.java).setup().get() }

    @Test
    fun `every obstacle has a sentence of its own`() {
        val contacts = Wish.entries.map { blocked(Topic.NEXT_CONTACT, it, waitSecs = 300.0) }
        val others = Topic.entries.filter { it != Topic.NEXT_CONTACT }.map { blocked(it) }
        val sentences =
            (contacts + others).map { app.answerTo(Explanation(listOf(it)), kept = 1) } +
                app.answerTo(Explanation(listOf(blocked(Topic.EXAMPLES))), kept = 0) +
                app.answerTo(Explanation(emptyList()), kept = 1)

        assertEquals(sentences.toSet().size, sentences.size)
    }

    @Test
    fun `a wait is told in the language's own words`() {
        fun answer(waitSecs: Double?) =
            app.answerTo(
                Explanation(listOf(blocked(Topic.NEXT_CONTACT, Wish.SERVER, waitSecs))),
                kept = 1,
            )
        val start = "The server wants to hear from this phone again"
        assertEquals("$start in 1 minute.", answer(5.0))
        assertEquals("$start in 35 minutes.", answer(35 * 60.0))
        assertEquals("$start in 6 hours.", answer(6 * 3600.0))
        assertEquals("$start in 3 days.", answer(3 * 86_400.0))
        assertEquals("$start later.", answer(null))

        RuntimeEnvironment.setQualifiers("de")
        assertEquals(
            "Der Server möchte in 35 Minuten wieder von diesem Telefon hören.",
            answer(35 * 60.0),
        )
    }

    @Test
    fun `a button is there where the person can do something`() {
        screen.settle()
        for (action in PersonsAction.entries) {
            val line = blocked(Topic.CHARGING).copy(action = action)
            screen.show(Explanation(listOf(line)), kept = 1)
            assertEquals(View.VISIBLE, screen.view(R.id.act).visibility)
            assertEquals(text(action.label), screen.text(R.id.act))
            val once = if (action == PersonsAction.TRAIN_NOW) View.GONE else View.VISIBLE
            assertEquals(once, screen.view(R.id.train_now).visibility)
        }
        screen.show(Explanation(listOf(blocked(Topic.HEAT))), kept = 1)
        assertEquals(View.GONE, screen.view(R.id.act).visibility)
        assertEquals(View.VISIBLE, screen.view(R.id.train_now).visibility)
    }

    private fun blocked(topic: Topic, wish: Wish? = null, waitSecs: Double? = null) =
        ExplanationLine(topic, Standing.BLOCKED, "not shown", wish, waitSecs = waitSecs)
}
