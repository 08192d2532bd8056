package org.fedvoice.core.session

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import java.io.File
import java.io.IOException

/** Who wants that a phone waits, and why. */
@Serializable
enum class Wish {
    /** Someone at the phone: they agreed, enrolled or asked for a session. */
    @SerialName("person")
    PERSON,

    /** The server named the time of the next contact. */
    @SerialName("server")
    SERVER,

    /** The phone itself, after a session that failed, was stopped or could not begin. */
    @SerialName("backoff")
    BACKOFF,

    /** The server's training has ended: no session until a new enrolment. */
    @SerialName("finished")
    FINISHED,

    /** The server does not take this phone's certificate: no session until a new enrolment. */
    @SerialName("refused")
    REFUSED,

    /** What a day may cost is spent. */
    @SerialName("daily-limit")
    DAILY_LIMIT,
}

/**
 * When a phone may contact its server next, so that a process that starts again knows it.
 *
 * @property nextContactSecs Unix time; 0: at once. Means nothing when [isOver]
 * @property sinceSecs Unix time when it was decided
 */
@Serializable
data class Pacing(
    @SerialName("next_contact_secs") val nextContactSecs: Double,
    val wish: Wish,
    @SerialName("since_secs") val sinceSecs: Double,
) {
    init {
        require(nextContactSecs.isFinite() && sinceSecs.isFinite()) { "not a time: $this" }
    }

    /** Whether nothing is to happen until a new enrolment. */
    val isOver: Boolean get() = wish == Wish.FINISHED || wish == Wish.REFUSED

    /** Seconds to wait at [nowSecs]; never more than was decided, whatever became of the clock. */
    fun delaySecs(nowSecs: Double): Double =
        minOf(nextContactSecs - nowSecs, wholeDelaySecs).coerceAtLeast(0.0)

    /** The same wait told from [nowSecs] on, if the clock was set back behind [sinceSecs]. */
    fun onClock(nowSecs: Double): Pacing =
        if (nowSecs >= sinceSecs) {
            this
        } else {
            copy(nextContactSecs = nowSecs + wholeDelaySecs, sinceSecs = nowSecs)
        }

    private val wholeDelaySecs get() = maxOf(0.0, nextContactSecs - sinceSecs)
}

/** A phone's [Pacing] on its disk, `pacing.json`; what cannot be read counts as none. */
class PacingFile(private val file: File) {
    fun read(): Pacing? =
        try {
            JSON.decodeFromString(Pacing.serializer(), file.readText())
        } catch (_: IOException) {
            null
        } catch (_: IllegalArgumentException) {
            null // damaged, or of a later version
        }

    /**
     * Durable when it returns.
     *
     * @throws IOException if the disk does not take it
     */
    @Synchronized
    fun put(pacing: Pacing) {
        file.absoluteFile.parentFile?.mkdirs()
        writeDurably(file, JSON.encodeToString(Pacing.serializer(), pacing).toByteArray())
    }

    @Synchronized
    fun clear() {
        file.delete()
    }

    private companion object {
        val JSON = Json { ignoreUnknownKeys = true }
    }
}
