package org.fedvoice.dictation

import android.app.AlertDialog
import android.os.Bundle
import android.util.Log
import android.view.View
import android.widget.ListView
import android.widget.RadioGroup
import android.widget.TextView
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.withContext
import org.fedvoice.core.session.Books
import org.fedvoice.core.session.SessionRecord
import org.fedvoice.sdk.KeptExample

/** What this phone learnt from and what it sent: play it, delete it, switch it off. */
class LearntActivity : Screen() {
    private val choice by lazy { findViewById<RadioGroup>(R.id.shown) }
    private val rows by lazy { RowAdapter(this, ::playOrStop, ::askBeforeDeleting) }
    private var examples = emptyList<KeptExample>()
    private var sessions = emptyList<SessionRecord>()
    private var playing: Job? = null

    override fun onCreate(savedState: Bundle?) {
        super.onCreate(savedState)
        setContentView(R.layout.learnt)
        val list = findViewById<ListView>(R.id.list)
        val header = layoutInflater.inflate(R.layout.learnt_header, list, false)
        list.addHeaderView(header, null, false)
        list.itemsCanFocus = true
        list.adapter = rows
        connect()
        savedState?.let { choice.check(it.getInt(CHOICE)) }
        choice.setOnCheckedChangeListener { _, _ -> showRows() }
        findViewById<View>(R.id.back).setOnClickListener { finish() }
        findViewById<View>(R.id.delete_all).setOnClickListener { askBeforeDeletingAll() }
    }

    override fun onSaveInstanceState(state: Bundle) {
        super.onSaveInstanceState(state)
        // A list saves nothing of its header.
        state.putInt(CHOICE, choice.checkedRadioButtonId)
    }

    override fun onPause() {
        playing?.cancel()
        super.onPause()
    }

    override suspend fun show() {
        val (kept, sent) = withContext(Dispatchers.IO) { voice.examples() to voice.sessions() }
        show(kept, sent, withContext(Dispatchers.IO) { voice.status })
    }

    internal fun show(kept: List<KeptExample>, sent: List<SessionRecord>, books: Books) {
        examples = kept
        sessions = sent
        findViewById<TextView>(R.id.totals).text = totals(books)
        showRows()
    }

    private fun showRows() {
        val isSent = choice.checkedRadioButtonId == R.id.show_sent
        rows.rows =
            when {
                isSent -> sessions.map(Row::Sent).ifEmpty { listOf(Row.Empty(R.string.none_sent)) }
                else -> examples.map(Row::Kept).ifEmpty { listOf(Row.Empty(R.string.none_kept)) }
            }
    }

    private fun playOrStop(example: KeptExample) {
        val isPlayed = rows.playing == example.id
        playing?.cancel()
        if (isPlayed) return
        playing =
            act {
                rows.playing = example.id
                try {
                    play(withContext(Dispatchers.IO) { voice.sound(example.id) })
                    null
                } catch (error: UnsupportedOperationException) {
                    notPlayable(error)
                } catch (error: CancellationException) {
                    throw error
                } catch (error: IllegalStateException) {
                    notPlayable(error)
                } finally {
                    if (rows.playing == example.id) rows.playing = null
                }
            }
    }

    /** Such as during a call. */
    private fun notPlayable(error: RuntimeException): String {
        Log.w(TAG, error.message.orEmpty())
        return getString(R.string.not_playable)
    }

    private fun askBeforeDeleting(example: KeptExample) =
        ask(getString(R.string.delete_one_question, example.transcript)) {
            withContext(Dispatchers.IO) { voice.deleteExample(example.id) }
            getString(R.string.deleted_one, example.transcript)
        }

    private fun askBeforeDeletingAll() =
        ask(getString(R.string.delete_all_question)) {
            voice.deleteEverything()
            getString(R.string.deleted_all)
        }

    private fun ask(question: String, work: suspend () -> String) {
        AlertDialog
            .Builder(this)
            .setMessage(question)
            .setNegativeButton(R.string.delete_no, null)
            .setPositiveButton(R.string.delete_yes) { _, _ ->
                playing?.cancel()
                act(work = work)
            }.show()
    }

    private companion object {
        const val CHOICE = "choice"
    }
}
