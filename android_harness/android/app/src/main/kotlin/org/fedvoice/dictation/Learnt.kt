package org.fedvoice.dictation

import android.content.Context
import org.fedvoice.core.session.Books
import org.fedvoice.sdk.KeptExample

/** In which rounds an example was learnt from: all of them while they are few. */
internal fun Context.learntIn(example: KeptExample): String {
    val rounds = example.rounds
    val count = rounds.size
    return when {
        example.isForMeasuring -> {
            getString(R.string.for_measuring)
        }
        rounds.isEmpty() -> {
            getString(R.string.not_learnt_from)
        }
        count <= FEW -> {
            val all = list(rounds.map { number(it) })
            resources.getQuantityString(R.plurals.learnt_in_rounds, count, all)
        }
        else -> {
            val last = number(rounds.last())
            resources.getQuantityString(R.plurals.learnt_in_many_rounds, count, count, last)
        }
    }
}

/** What the phone has learnt, sent and spent in all, and what its last learning left out. */
internal fun Context.totals(books: Books): String =
    listOfNotNull(
        getString(R.string.total_updates, number(books.trained)),
        getString(R.string.total_recordings, number(books.examples)),
        getString(R.string.total_traffic, size(books.bytesUp), size(books.bytesDown)),
        getString(
            R.string.total_cost,
            workTime(books.trainSecs),
            number(books.chargeMicroampHours / MICROAMP_HOURS, digits = 1),
        ),
        leftOut(books),
    ).joinToString("\n")

private fun Context.leftOut(books: Books): String? {
    val parts =
        books.usage?.leftOut.orEmpty().map { (reason, count) ->
            val words = REASONS[reason]?.let(::getString) ?: reason
            getString(R.string.left_out_part, words, number(count))
        }
    return if (parts.isEmpty()) null else getString(R.string.left_out, list(parts))
}

private val REASONS =
    mapOf(
        "too-short" to R.string.reason_too_short,
        "too-long" to R.string.reason_too_long,
        "too-many-tokens" to R.string.reason_too_many_tokens,
        "unknown-token" to R.string.reason_unknown_token,
        "unsupported-text" to R.string.reason_unsupported_text,
        "wrong-sample-rate" to R.string.reason_wrong_sample_rate,
        "silent" to R.string.reason_silent,
        "unreadable-audio" to R.string.reason_unreadable,
        "missing-audio" to R.string.reason_unreadable,
    )
private const val FEW = 5
private const val MICROAMP_HOURS = 1000.0
