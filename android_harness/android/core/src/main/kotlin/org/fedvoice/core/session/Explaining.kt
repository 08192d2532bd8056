package org.fedvoice.core.session

import java.util.Locale

/** Why a phone in this [state] does not train, or that nothing is in its way. */
fun explanationOf(state: PhoneState): Explanation =
    Explanation(
        listOf(consent(state), enrolment(state), examples(state)) +
            gates(state.requirements, state.conditions) +
            listOf(nextContact(state), lastSession(state)),
    )

private fun consent(state: PhoneState) =
    if (state.consent) {
        ok(Topic.CONSENT, "The person has agreed.")
    } else {
        val text = "The person has not agreed to training."
        blocked(Topic.CONSENT, text, PersonsAction.GIVE_CONSENT)
    }

private fun enrolment(state: PhoneState) =
    if (state.isEnrolled) {
        ok(Topic.ENROLMENT, "The phone has a server's certificate.")
    } else {
        val text = "The phone has not joined a server: it needs an invitation."
        blocked(Topic.ENROLMENT, text, PersonsAction.JOIN)
    }

private fun examples(state: PhoneState): ExplanationLine {
    val usage = state.usage
    val topic = Topic.EXAMPLES
    return when {
        state.held == 0 -> {
            blocked(topic, "The phone holds no examples.", PersonsAction.RECORD)
        }
        usage == null -> {
            val text = "${state.held} examples; the task that would use them has not come yet."
            ExplanationLine(topic, Standing.UNKNOWN, text)
        }
        usage.used == 0 -> {
            val text = "The task can use no example: ${usage.describe()}."
            blocked(topic, text, PersonsAction.RECORD)
        }
        else -> {
            ok(topic, "Examples: ${usage.describe()}.")
        }
    }
}

/** Each one alone is put to the rule that sessions follow. */
private fun gates(wanted: Requirements, now: Conditions): List<ExplanationLine> {
    val none = Requirements(charging = false, idle = false, unmetered = false)
    val least = wanted.minBatteryPercent
    val percent = now.batteryPercent
    val degrees = now.temperatureCelsius

    fun gate(
        topic: Topic,
        alone: Requirements,
        value: Any?,
        good: String,
        action: PersonsAction? = null,
    ): ExplanationLine {
        val missing = alone.missing(now, network = topic == Topic.NETWORK)
        return when {
            missing.isNotEmpty() -> {
                blocked(topic, "The phone is waiting: ${missing.joinToString()}.", action)
            }
            alone == none -> {
                ok(topic, "Not asked for.")
            }
            value == null -> {
                ExplanationLine(topic, Standing.UNKNOWN, "The phone does not say.")
            }
            else -> {
                ok(topic, good)
            }
        }
    }
    val watched = PersonsAction.TRAIN_NOW
    val charger = none.copy(charging = wanted.charging)
    val idle = none.copy(idle = wanted.idle)
    val network = none.copy(unmetered = wanted.unmetered)
    val battery = none.copy(minBatteryPercent = least)
    val heat = none.copy(maxTemperatureCelsius = wanted.maxTemperatureCelsius)
    return listOf(
        gate(Topic.CHARGING, charger, now.charging, "On the charger.", watched),
        gate(Topic.IDLE, idle, now.idle, "Not in use.", watched),
        gate(Topic.NETWORK, network, now.unmetered, "On an unmetered network.", watched),
        gate(Topic.BATTERY, battery, percent, "Battery at $percent%; $least% is enough."),
        gate(Topic.HEAT, heat, degrees, "Battery at $degrees degrees."),
        storage(now.freeStorageBytes?.div(BYTES_PER_MEGABYTE)),
    )
}

private fun storage(freeMegabytes: Long?): ExplanationLine {
    val free = freeMegabytes?.let { "$it MB free" } ?: "The phone does not say what is free"
    val text = "$free; the system waits while it calls that low."
    return ExplanationLine(Topic.STORAGE, Standing.UNKNOWN, text)
}

private fun nextContact(state: PhoneState): ExplanationLine {
    val pacing =
        state.pacing
            ?: return ok(Topic.NEXT_CONTACT, "No time was agreed: at once, when all else holds.")
    val delay = pacing.delaySecs(state.nowSecs)
    if (!pacing.isOver && delay <= 0) {
        return ok(Topic.NEXT_CONTACT, "Due now, when all else holds.").copy(wish = pacing.wish)
    }
    val wait = spanOf(delay)
    val error = state.books.lastError
    val last = if (error.isEmpty()) "stopped early" else "failed ($error)"
    val (text, action) =
        when (pacing.wish) {
            Wish.PERSON -> {
                "The next session is in $wait." to null
            }
            Wish.SERVER -> {
                "The server wants the next call in $wait." to null
            }
            Wish.BACKOFF -> {
                "The last session $last; the next try is in $wait." to
                    PersonsAction.TRAIN_NOW
            }
            Wish.FINISHED -> {
                "The server's training has ended; a new invitation starts another." to
                    PersonsAction.JOIN
            }
            Wish.REFUSED -> {
                "The server does not take this phone's certificate: it needs a new invitation." to
                    PersonsAction.JOIN
            }
            Wish.DAILY_LIMIT -> {
                "What a day may cost is spent; the next session is in $wait." to null
            }
        }
    val waitSecs = delay.takeUnless { pacing.isOver }
    return blocked(Topic.NEXT_CONTACT, text, action).copy(wish = pacing.wish, waitSecs = waitSecs)
}

private fun lastSession(state: PhoneState): ExplanationLine {
    val books = state.books
    if (books.sessions == 0) {
        return ExplanationLine(Topic.LAST_SESSION, Standing.UNKNOWN, "There was no session yet.")
    }
    val ended = books.lastError.ifEmpty { books.lastHappened }
    val ago = spanOf(maxOf(0.0, state.nowSecs - books.updatedSecs))
    val text = "The last session ended with '$ended', round ${books.lastRound}, $ago ago."
    val isGood = books.lastError.isEmpty() && ended !in UNFIT
    return if (isGood) ok(Topic.LAST_SESSION, text) else blocked(Topic.LAST_SESSION, text)
}

/** Sessions without an error in which the phone could not do what the server had for it. */
private val UNFIT =
    listOf(Happened.LINE_TOO_SLOW, Happened.LEASE_EXPIRED, Happened.GAVE_UP).map { it.id }

/** A time as one number: "40 s", "35 min", "2.5 h", "3.0 days". */
private fun spanOf(secs: Double): String {
    fun told(format: String, value: Double) = String.format(Locale.ROOT, format, value)
    return when {
        secs < 100 -> told("%.0f s", secs)
        secs < 100 * MINUTE_SECS -> told("%.0f min", secs / MINUTE_SECS)
        secs < 48 * HOUR_SECS -> told("%.1f h", secs / HOUR_SECS)
        else -> told("%.1f days", secs / DAY_SECS)
    }
}

private fun ok(topic: Topic, text: String) = ExplanationLine(topic, Standing.OK, text)

private fun blocked(topic: Topic, text: String, action: PersonsAction? = null) =
    ExplanationLine(topic, Standing.BLOCKED, text, action = action)

private const val MINUTE_SECS = 60.0
private const val HOUR_SECS = 3600.0
private const val DAY_SECS = 86_400.0
private const val BYTES_PER_MEGABYTE = 1_000_000
