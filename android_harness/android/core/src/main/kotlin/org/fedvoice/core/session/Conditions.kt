package org.fedvoice.core.session

import org.fedvoice.wire.Conditions as ConditionsMessage

/**
 * The state of the phone now.
 *
 * @property online whether the phone's network reaches the internet: a login page does not count
 * @property batteryPercent and the two after it: null, the device does not say; nobody looks at it
 * @property throttling whether the phone has slowed itself down for heat
 * @property overridden whether a person asked for work whatever the state, and watches it
 */
data class Conditions(
    val charging: Boolean = true,
    val idle: Boolean = true,
    val unmetered: Boolean = true,
    val batteryPercent: Int? = 100,
    val freeStorageBytes: Long? = null,
    val freeMemoryBytes: Long? = null,
    val temperatureCelsius: Double? = null,
    val throttling: Boolean = false,
    val overridden: Boolean = false,
    val online: Boolean = true,
) {
    /** The wire form; temperatures stay on the phone, and what is not known is not sent. */
    fun toMessage(): ConditionsMessage {
        val message =
            ConditionsMessage
                .newBuilder()
                .setCharging(charging)
                .setIdle(idle)
                .setUnmetered(unmetered)
                .setOverridden(overridden)
        batteryPercent?.let(message::setBatteryPercent)
        freeStorageBytes?.let(message::setFreeStorageBytes)
        freeMemoryBytes?.let(message::setFreeMemoryBytes)
        return message.build()
    }
}

/** Where conditions are read. */
fun interface ConditionSource {
    /** The conditions now; cheap, called between any two steps. */
    fun read(): Conditions
}

/**
 * What must hold for a phone to work; `unmetered` is not looked at while it trains.
 *
 * @property maxTemperatureCelsius of the battery; null: heat is not looked at
 */
data class Requirements(
    val charging: Boolean = true,
    val idle: Boolean = true,
    val unmetered: Boolean = true,
    val minBatteryPercent: Int = 0,
    val maxTemperatureCelsius: Double? = null,
) {
    /** What does not hold, in words; nothing: the phone may work. */
    fun missing(conditions: Conditions, network: Boolean = true): List<String> {
        // A person who asks for a session may mean a server beside the phone.
        val offline = !conditions.online && !conditions.overridden
        return listOfNotNull(
            "not charging".takeIf { charging && !conditions.charging },
            "in use".takeIf { idle && !conditions.idle },
            "not on the internet".takeIf { network && offline },
            "on a metered network".takeIf { network && unmetered && !conditions.unmetered },
        ) + harmful(conditions)
    }

    /** What of [missing] wears the phone out: work stops for it without a grace. */
    fun harmful(conditions: Conditions): List<String> {
        val percent = conditions.batteryPercent
        val heat = conditions.temperatureCelsius
        val limit = maxTemperatureCelsius
        return listOfNotNull(
            "battery at $percent%".takeIf { percent != null && percent < minBatteryPercent },
            "battery at $heat degrees".takeIf { heat != null && limit != null && heat > limit },
            "too hot".takeIf { limit != null && conditions.throttling },
        )
    }
}

/**
 * Poll -> grace -> stop: [check] it between steps; true once conditions were lost for too long.
 *
 * Conditions that come back within the grace are as if never lost. For what is harmful there is no
 * grace. Once true it stays true.
 */
class Interruption(
    private val source: ConditionSource,
    private val requirements: Requirements,
    private val graceSecs: Double,
    private val clock: Clock = SystemClock,
) {
    private var lostAt: Double? = null

    /** Why it stopped; empty: it did not. */
    var reasons: List<String> = emptyList()
        private set

    fun check(): Boolean {
        if (reasons.isNotEmpty()) return true
        val conditions = source.read()
        val missing = requirements.missing(conditions, network = false)
        if (missing.isEmpty()) {
            lostAt = null
            return false
        }
        val now = clock.elapsedSecs()
        val since = lostAt ?: now.also { lostAt = it }
        val harmful = requirements.harmful(conditions).isNotEmpty()
        if (harmful || now - since >= graceSecs) reasons = missing
        return reasons.isNotEmpty()
    }
}

/**
 * An emulated phone's conditions over time: (from seconds, conditions) steps from construction.
 *
 * Before the first step the first one's conditions hold.
 */
class ScriptedConditions(
    steps: List<Pair<Double, Conditions>>,
    private val clock: Clock = SystemClock,
) : ConditionSource {
    private val steps = steps.sortedBy { it.first }
    private val started = clock.elapsedSecs()

    override fun read(): Conditions {
        val elapsed = clock.elapsedSecs() - started
        return (steps.lastOrNull { it.first <= elapsed } ?: steps.first()).second
    }
}
