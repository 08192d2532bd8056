package org.fedvoice.desktop

import org.fedvoice.core.session.Outcome
import java.time.LocalDateTime
import java.time.format.DateTimeFormatter
import java.util.Locale

/** Lines on stderr in the form of the Python phone's log: numbers, no word of what was said. */
internal object Log {
    private val stamp = DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss,SSS")

    fun info(message: String) = line("INFO", message)

    fun warning(message: String) = line("WARNING", message)

    fun error(message: String) = line("ERROR", message)

    private fun line(level: String, message: String) {
        // One write a line, so that lines of several threads do not mix.
        System.err.print("${LocalDateTime.now().format(stamp)} $level $message\n")
        System.err.flush()
    }
}

/** One session in a line for the log: numbers only. */
internal fun describe(outcome: Outcome): String {
    val parts = mutableListOf(outcome.happened.id)
    outcome.round?.let { parts += "round $it" }
    outcome.statistics?.let { counts ->
        if (counts.steps > 0) {
            parts += "${counts.examples} examples, ${counts.steps} steps, " +
                "loss ${"%.3f".plain(counts.loss)}, ${"%.1f".plain(counts.trainSecs)} s"
        }
        if (counts.words > 0) {
            var said = "${counts.wordErrors} errors in ${counts.words} words"
            if (counts.chars > 0) said += ", ${counts.charErrors} in ${counts.chars} characters"
            parts += said
        }
    }
    if (outcome.detail.isNotEmpty()) parts += outcome.detail
    parts += "${outcome.bytesUp} bytes up, ${outcome.bytesDown} down"
    if (outcome.attempts > 0) parts += "${outcome.attempts} calls"
    val next = "%.0f".plain(outcome.nextContactSecs)
    parts += if (outcome.finished) "finished" else "next in $next s"
    return parts.joinToString("; ")
}

private fun String.plain(number: Double): String = String.format(Locale.ROOT, this, number)
