package org.fedvoice.dictation

import android.content.res.Resources
import android.graphics.Bitmap
import android.graphics.Color
import android.graphics.Insets
import android.os.Build
import android.os.LocaleList
import android.view.View
import android.view.ViewGroup
import android.view.WindowInsets
import android.widget.Button
import android.widget.ImageButton
import android.widget.LinearLayout
import android.widget.RadioButton
import android.widget.TextView
import org.fedvoice.core.session.Books
import org.fedvoice.core.session.Explanation
import org.fedvoice.core.session.ExplanationLine
import org.fedvoice.core.session.PersonsAction
import org.fedvoice.core.session.SessionRecord
import org.fedvoice.core.session.Standing
import org.fedvoice.core.session.Topic
import org.fedvoice.core.session.Wish
import org.fedvoice.core.store.Source
import org.fedvoice.core.training.UsageCounts
import org.fedvoice.sdk.KeptExample
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import java.io.File

/**
 * Nothing is cut, faint, nameless or too small to touch: each screen in light and dark, in normal
 * and large type, in each language; pictures of them are in `target/screenshots`.
 */
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class ScreensTest : AppTest() {
    @Test
    @Config(sdk = [35])
    fun `in English`() = look("en-rUS")

    /** The longest words, on each Android. */
    @Test
    fun `in German`() = look("de")

    @Test
    @Config(sdk = [35])
    fun `in Spanish`() = look("es")

    @Test
    @Config(sdk = [35])
    fun `in Chinese`() = look("zh")

    @Test
    fun `the checks find what they look for`() {
        screenSize(1f)
        val screen = Robolectric.buildActivity(MainActivity::class.java).setup().get()
        screen.settle()
        val box = LinearLayout(screen).apply { orientation = LinearLayout.VERTICAL }

        fun put(view: View, width: Int, height: Int) = box.addView(view, width, height)
        put(ImageButton(screen).apply { setBackgroundColor(Color.RED) }, 100, 100)
        put(Button(screen).apply { text = "small" }, 100, 20)
        put(TextView(screen).apply { text = "much more than there is room for" }, 80, 24)
        put(TextView(screen).apply { text = "faint" }, 300, 60)
        (box.getChildAt(3) as TextView).setTextColor(Color.rgb(235, 235, 235))
        put(Button(screen).apply { text = "twice" }, 300, 60)
        put(Button(screen).apply { text = "twice" }, 300, 60)
        screen.setContentView(box)
        waitFor { box.height > 0 }

        val root = screen.window.decorView
        val faults = faultsOf(root, root.shot()).map { it.substringBefore(' ') to it }
        val texts = faults.joinToString("\n") { it.second }
        assertTrue(texts, "ImageButton  '' has no label" in texts)
        assertTrue(texts, "'small' is too small to touch" in texts)
        assertTrue(texts, "'much more than there is room for' is cut" in texts)
        assertTrue(texts, "'faint' is hard to see" in texts)
        assertTrue(texts, "two are called 'twice'" in texts)
    }

    @Test
    @Config(sdk = [34, 35])
    fun `what is shown keeps clear of the system's bars`() {
        val screen = Robolectric.buildActivity(LearntActivity::class.java).setup().get()
        val content = screen.findViewById<ViewGroup>(android.R.id.content)
        val bars = Insets.of(0, 40, 0, 60)
        val insets = WindowInsets.Builder().setInsets(WindowInsets.Type.systemBars(), bars)
        val keyboard = insets.setInsets(WindowInsets.Type.ime(), Insets.of(0, 0, 0, 300)).build()

        content.dispatchApplyWindowInsets(keyboard)
        assertEquals(40 to 300, content.paddingTop to content.paddingBottom)
    }

    private fun look(language: String) {
        val failures = mutableListOf<String>()
        for (night in listOf("notnight", "night")) {
            for (scale in listOf(1f, 2f)) {
                RuntimeEnvironment.setQualifiers("$language-$night")
                // As Android does for an app; dates follow it.
                LocaleList.setDefault(Resources.getSystem().configuration.locales)
                screenSize(scale)
                val name = "$language-$night-${scale.toInt()}"
                for ((screen, root) in screens()) {
                    val shot = root.shot()
                    if (Build.VERSION.SDK_INT == PICTURED) save(shot, "$screen-$name")
                    failures += faultsOf(root, shot).map { "$screen-$name: $it" }
                    val hasTitle = headings(root) > 0
                    if (!hasTitle) failures += "$screen-$name has no heading"
                }
            }
        }
        assertEquals("", failures.joinToString("\n"))
    }

    /** High enough for all that would be scrolled to. */
    private fun screenSize(scale: Float) {
        RuntimeEnvironment.setFontScale(scale)
        val heightDp = if (scale > 1) 2600 else 1300
        RuntimeEnvironment.setQualifiers("+w360dp-h${heightDp}dp-mdpi")
    }

    private fun screens() =
        sequence {
            val main = Robolectric.buildActivity(MainActivity::class.java).setup().get()
            main.settle()
            main.show(Explanation(listOf(BACKOFF)), kept = 3)
            main.findViewById<TextView>(R.id.message).apply {
                text = main.getString(R.string.error_storage)
                visibility = View.VISIBLE
            }
            waitFor { !main.window.decorView.isLayoutRequested }
            yield("main" to main.window.decorView)

            val learnt = Robolectric.buildActivity(LearntActivity::class.java).setup().get()
            learnt.settle()
            learnt.show(EXAMPLES, SESSIONS, BOOKS)
            waitFor { !learnt.window.decorView.isLayoutRequested }
            yield("learnt" to learnt.window.decorView)

            learnt.findViewById<RadioButton>(R.id.show_sent).performClick()
            waitFor { !learnt.window.decorView.isLayoutRequested }
            yield("sent" to learnt.window.decorView)
        }

    private fun headings(view: View): Int =
        (if (view.isAccessibilityHeading) 1 else 0) +
            (
                (view as? ViewGroup)?.let { group ->
                    List(group.childCount) { headings(group.getChildAt(it)) }.sum()
                } ?: 0
            )

    private fun save(shot: Bitmap, name: String) {
        val folder = File("target/screenshots")
        folder.mkdirs()
        File(folder, "$name.png").outputStream().use {
            shot.compress(Bitmap.CompressFormat.PNG, 100, it)
        }
    }

    private companion object {
        const val PICTURED = 35
        val BACKOFF =
            ExplanationLine(
                Topic.NEXT_CONTACT,
                Standing.BLOCKED,
                "not shown",
                Wish.BACKOFF,
                action = PersonsAction.TRAIN_NOW,
                waitSecs = 2100.0,
            )
        val FIRST =
            KeptExample(1, "turn on the light", Source.PROMPT, 3.4, 1.7e9, listOf(3, 7, 12), false)
        val EXAMPLES =
            listOf(
                FIRST,
                FIRST.copy(
                    id = 2,
                    transcript = "remind me to call the electrician on Thursday afternoon",
                    rounds = (1..40).toList(),
                ),
                FIRST.copy(id = 3, transcript = "good morning", isForMeasuring = true),
                FIRST.copy(id = 4, transcript = "stop", rounds = emptyList()),
            )
        val SESSIONS =
            listOf(
                SessionRecord(1.7e9, "trained", 1203, 9_400_000, 12_000, examples = 7),
                SessionRecord(1.69e9, "report-kept", 3, 9_400_000, 12_000),
                SessionRecord(1.68e9, "line-too-slow", null, 900, 1200),
                SessionRecord(1.67e9, "internal", null, 80, 120),
            )
        val BOOKS =
            Books(
                trained = 3,
                examples = 2100,
                bytesUp = 28_000_000,
                bytesDown = 30_000_000,
                trainSecs = 700.0,
                chargeMicroampHours = 1234,
                usage = UsageCounts(12, mapOf("too-many-tokens" to 2, "unknown-token" to 11)),
            )
    }
}
