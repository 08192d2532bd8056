package org.fedvoice.core.session

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/**
 * What training may cost a phone in a day. They are looked at between sessions, and CPU seconds
 * between training steps too: a session that has begun may exceed the others by its own share.
 *
 * @property attempts calls to servers, repetitions included
 * @property wakeUps sessions, whatever came of them
 * @property bytes both ways
 * @property cpuSecs of the app's process while sessions run, over all cores
 */
data class DailyLimits(
    val attempts: Int = 120,
    val wakeUps: Int = 48,
    val bytes: Long = 256L shl 20,
    val cpuSecs: Double = 4 * 3600.0,
) {
    init {
        require(attempts > 0 && wakeUps > 0 && bytes > 0 && cpuSecs > 0) {
            "a day's limits are above 0, got $this: a phone that is to do nothing has no consent"
        }
    }

    /** Whether [day] has cost as much as it may. */
    fun reached(day: DayCosts): Boolean =
        day.attempts >= attempts ||
            day.wakeUps >= wakeUps ||
            day.bytes >= bytes ||
            day.cpuSecs >= cpuSecs
}

/**
 * What one day has cost: 24 hours from its first session, so that phones that have reached a limit
 * do not all come back at midnight.
 *
 * @property sinceSecs Unix time of its first session; 0: there was none
 */
@Serializable
data class DayCosts(
    @SerialName("since_secs") val sinceSecs: Double = 0.0,
    val attempts: Int = 0,
    @SerialName("wake_ups") val wakeUps: Int = 0,
    val bytes: Long = 0,
    @SerialName("cpu_secs") val cpuSecs: Double = 0.0,
) {
    /** Unix time when the next day may begin. */
    val endsSecs: Double get() = sinceSecs + DAY_SECS

    /** The day at [nowSecs]: this one, or a new one if it is over or the clock was set back. */
    fun at(nowSecs: Double): DayCosts =
        if (nowSecs >= sinceSecs && nowSecs < endsSecs) this else DayCosts(sinceSecs = nowSecs)

    /** With one more session. */
    fun plus(traffic: Traffic, cpuSecs: Double): DayCosts =
        copy(
            attempts = attempts + traffic.attempts,
            wakeUps = wakeUps + 1,
            bytes = bytes + traffic.bytesUp + traffic.bytesDown,
            cpuSecs = this.cpuSecs + maxOf(0.0, cpuSecs),
        )

    private companion object {
        const val DAY_SECS = 86400.0
    }
}
