package org.fedvoice.dictation

import android.app.Activity
import android.view.View
import android.view.ViewGroup
import android.widget.BaseAdapter
import android.widget.ImageButton
import android.widget.TextView
import org.fedvoice.core.session.SessionRecord
import org.fedvoice.sdk.KeptExample

/** A row of the list of what the phone learnt from, or of what it sent. */
internal sealed interface Row {
    class Kept(val example: KeptExample) : Row

    class Sent(val session: SessionRecord) : Row

    /** There is nothing: it says so, in the words of [text]. */
    class Empty(val text: Int) : Row
}

/** Shows [rows] with as many views as the screen holds. */
internal class RowAdapter(
    private val screen: Activity,
    private val onPlay: (KeptExample) -> Unit,
    private val onDelete: (KeptExample) -> Unit,
) : BaseAdapter() {
    var rows: List<Row> = emptyList()
        set(value) {
            field = value
            notifyDataSetChanged()
        }

    /** The example that is heard now. */
    var playing: Long? = null
        set(value) {
            field = value
            notifyDataSetChanged()
        }

    override fun getCount(): Int = rows.size

    override fun getItem(position: Int): Row = rows[position]

    override fun getItemId(position: Int): Long = position.toLong()

    override fun getViewTypeCount(): Int = LAYOUTS.size

    override fun getItemViewType(position: Int): Int =
        when (rows[position]) {
            is Row.Kept -> 0
            is Row.Sent -> 1
            is Row.Empty -> 2
        }

    /** The texts are read, and the buttons pressed; a row as such does nothing. */
    override fun areAllItemsEnabled(): Boolean = false

    override fun isEnabled(position: Int): Boolean = false

    override fun getView(position: Int, used: View?, list: ViewGroup): View {
        val layout = LAYOUTS[getItemViewType(position)]
        val view = used ?: screen.layoutInflater.inflate(layout, list, false)
        when (val row = rows[position]) {
            is Row.Kept -> show(row.example, view)
            is Row.Sent -> show(row.session, view)
            is Row.Empty -> (view as TextView).setText(row.text)
        }
        return view
    }

    private fun show(example: KeptExample, view: View) {
        val words = example.transcript
        view.text(R.id.words, words)
        val length = screen.seconds(example.durationSecs)
        val added = screen.dateAndTime(example.addedSecs)
        view.text(R.id.`when`, screen.getString(R.string.when_and_how_long, added, length))
        view.text(R.id.rounds, screen.learntIn(example))
        val isPlaying = playing == example.id
        val play = view.findViewById<ImageButton>(R.id.play)
        play.setImageResource(if (isPlaying) R.drawable.ic_stop else R.drawable.ic_play)
        play.contentDescription =
            screen.getString(if (isPlaying) R.string.stop_playing else R.string.play, words)
        play.setOnClickListener { onPlay(example) }
        val delete = view.findViewById<ImageButton>(R.id.delete)
        delete.contentDescription = screen.getString(R.string.delete_one, words)
        delete.setOnClickListener { onDelete(example) }
    }

    private fun show(session: SessionRecord, view: View) {
        view.text(R.id.words, screen.wordsFor(session))
        view.text(R.id.`when`, screen.whenWas(session))
        val sent = screen.size(session.bytesUp)
        val received = screen.size(session.bytesDown)
        view.text(R.id.traffic, screen.getString(R.string.traffic, sent, received))
    }

    private fun View.text(id: Int, text: String) {
        findViewById<TextView>(id).text = text
    }

    private companion object {
        val LAYOUTS = listOf(R.layout.example_row, R.layout.session_row, R.layout.empty_row)
    }
}
