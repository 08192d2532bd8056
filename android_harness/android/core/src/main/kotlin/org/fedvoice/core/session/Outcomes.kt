package org.fedvoice.core.session

import org.fedvoice.core.training.UsageCounts
import org.fedvoice.wire.Statistics
import org.fedvoice.wire.Verdict

/** How a session ended; the ids are those of `device_runtime/outcomes.py`. */
enum class Happened(val id: String) {
    /** The update was accepted. */
    TRAINED("trained"),

    /** The counts were accepted. */
    EVALUATED("evaluated"),

    /** The server said when to call again. */
    NO_WORK("no-work"),

    /** The server has work that this phone could not bring in time. */
    LINE_TOO_SLOW("line-too-slow"),

    /** Conditions do not allow work; the server was not called. */
    NOT_READY("not-ready"),

    /** Stopped between steps; resumes from the checkpoint. */
    INTERRUPTED("interrupted"),

    /** Too slow: the work was dropped. */
    LEASE_EXPIRED("lease-expired"),

    /** Diverged or nothing usable: an empty report gave the place back. */
    GAVE_UP("gave-up"),

    /** The server will never take it: see the verdict. */
    REPORT_DROPPED("report-dropped"),

    /** The server cannot take it now: sent again next time. */
    REPORT_KEPT("report-kept"),
}

/** What a phone does with a report after a verdict. */
enum class Reaction {
    DROP,

    /** Ask ReportStatus and send the rest, a bounded number of times. */
    RESUME,

    /** Send all of it again, a bounded number of times. */
    RESEND,

    /** Keep it and try in the next session. */
    WAIT,
}

/** Reports with an unknown verdict (of a newer server) are dropped. */
fun reactionTo(verdict: Verdict): Reaction =
    when (verdict) {
        Verdict.VERDICT_WRONG_DIGEST -> Reaction.RESEND
        Verdict.VERDICT_WRONG_OFFSET -> Reaction.RESUME
        Verdict.VERDICT_NO_SPACE -> Reaction.WAIT
        Verdict.VERDICT_ACCEPTED,
        Verdict.VERDICT_LATE,
        Verdict.VERDICT_UNKNOWN_ASSIGNMENT,
        Verdict.VERDICT_WRONG_SHAPE,
        Verdict.VERDICT_NOT_FINITE,
        Verdict.VERDICT_NORM_TOO_LARGE,
        Verdict.VERDICT_INVALID_STATISTICS,
        Verdict.VERDICT_UNSPECIFIED,
        Verdict.UNRECOGNIZED,
        -> Reaction.DROP
    }

/**
 * Settings of a phone's sessions, independent of the task.
 *
 * @property checkpointSecs 0: after every step; null: no checkpoints
 * @property recheckSecs pause after a session that the server gave no time for
 */
data class SessionSettings(
    val requirements: Requirements = Requirements(),
    val calls: CallPolicy = CallPolicy(),
    val checkpointSecs: Double? = 1.0,
    val graceSecs: Double = 5.0,
    val recheckSecs: Double = 60.0,
    val reportAttempts: Int = 3,
    val featureCacheBytes: Long = 8L shl 20,
    val runtimeVersion: String = "",
    val operators: List<String> = emptyList(),
)

/**
 * The result of one session.
 *
 * @property verdict as it came on the wire, also when this phone does not know it
 * @property bytesUp of this session's messages
 * @property attempts calls made, repetitions included
 * @property usage of the examples to train on, when the phone last trained; null: it never did
 */
data class Outcome(
    val happened: Happened,
    val nextContactSecs: Double,
    val finished: Boolean = false,
    val round: Int? = null,
    val statistics: Statistics? = null,
    val verdict: Int? = null,
    val detail: String = "",
    val bytesUp: Long = 0,
    val bytesDown: Long = 0,
    val attempts: Int = 0,
    val usage: UsageCounts? = null,
)
