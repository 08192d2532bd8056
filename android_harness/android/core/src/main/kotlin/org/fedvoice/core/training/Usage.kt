package org.fedvoice.core.training

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import java.util.Locale

/**
 * Examples left out for one reason.
 *
 * @property first the first one, as errors name it: no word of what was said
 */
@Serializable
data class LeftOut(val count: Int, val first: String)

/**
 * What a task uses of a phone's examples and what it leaves out; the counterpart of
 * `protocol/usage.py`.
 *
 * @property leftOut by reason, the names that Python gives
 */
@Serializable
data class Usage(
    val used: Int = 0,
    @SerialName("left_out") val leftOut: Map<String, LeftOut> = emptyMap(),
) {
    /** How many were left out. */
    val skipped: Int get() = leftOut.values.sumOf { it.count }

    /** The same without the names. */
    val counts: UsageCounts get() = UsageCounts(used, leftOut.mapValues { it.value.count })

    /** One line: "24 utterances used; left out: 2 too-short (first: a.wav)". */
    fun describe(): String {
        val noun = if (used == 1) "utterance" else "utterances"
        val start = "%,d %s used".format(Locale.ROOT, used, noun)
        if (leftOut.isEmpty()) return "$start, none left out"
        val parts =
            leftOut.entries.joinToString { (reason, part) ->
                "${part.count} $reason (first: ${part.first})"
            }
        return "$start; left out: $parts"
    }
}

/** A [Usage] in numbers and reasons only, so that it may be shown and collected (law 10). */
@Serializable
data class UsageCounts(
    val used: Int = 0,
    @SerialName("left_out") val leftOut: Map<String, Int> = emptyMap(),
) {
    /** How many were left out. */
    val skipped: Int get() = leftOut.values.sum()

    /** In short: "12 used, 3 left out: 2 wrong-sample-rate, 1 unknown-token"; "12 used". */
    fun describe(): String {
        if (leftOut.isEmpty()) return "$used used"
        val parts = leftOut.entries.joinToString { (reason, count) -> "$count $reason" }
        return "$used used, $skipped left out: $parts"
    }
}

/** Counts a usage together, one example after the other. */
internal class UsageCount {
    private var used = 0
    private val leftOut = linkedMapOf<String, LeftOut>()

    fun use() {
        used += 1
    }

    fun leaveOut(reason: String, where: String) {
        val held = leftOut[reason]
        leftOut[reason] = LeftOut((held?.count ?: 0) + 1, held?.first ?: where)
    }

    fun result() = Usage(used, leftOut.toMap())
}
