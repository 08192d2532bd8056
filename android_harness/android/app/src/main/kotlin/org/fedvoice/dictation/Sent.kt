package org.fedvoice.dictation

import android.content.Context
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.session.Happened
import org.fedvoice.core.session.SessionRecord

/** What came of a session, and how many recordings it learnt from. */
internal fun Context.wordsFor(session: SessionRecord): String {
    val happened = session.happened
    val words = ENDINGS[happened]?.let(::getString) ?: getString(R.string.sent_error, happened)
    val count = session.examples
    if (count == 0) return words
    val from = resources.getQuantityString(R.plurals.learnt_from_recordings, count, count)
    return "$words\n$from"
}

/** When it ended, and in which round it was. */
internal fun Context.whenWas(session: SessionRecord): String {
    val ended = dateAndTime(session.endedSecs)
    val round = session.round ?: return ended
    return getString(R.string.when_and_how_long, ended, getString(R.string.round, number(round)))
}

/** By id, as the library's log of sessions has them. */
private val ENDINGS: Map<String, Int> =
    Happened.entries.associate { it.id to it.words } +
        mapOf(
            ErrorCode.SERVER_UNREACHABLE.id to R.string.sent_unreachable,
            ErrorCode.BAD_CREDENTIALS.id to R.string.sent_refused,
        )

private val Happened.words: Int
    get() =
        when (this) {
            Happened.TRAINED -> R.string.sent_trained
            Happened.EVALUATED -> R.string.sent_evaluated
            Happened.NO_WORK -> R.string.sent_no_work
            Happened.LINE_TOO_SLOW -> R.string.sent_line_too_slow
            Happened.NOT_READY -> R.string.sent_not_ready
            Happened.INTERRUPTED -> R.string.sent_interrupted
            Happened.LEASE_EXPIRED -> R.string.sent_lease_expired
            Happened.GAVE_UP -> R.string.sent_gave_up
            Happened.REPORT_DROPPED -> R.string.sent_report_dropped
            Happened.REPORT_KEPT -> R.string.sent_report_kept
        }
