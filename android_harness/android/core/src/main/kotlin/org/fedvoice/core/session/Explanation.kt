package org.fedvoice.core.session

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import org.fedvoice.core.training.UsageCounts

/** What a line of an [Explanation] is about, in the order in which they are asked. */
@Serializable
enum class Topic {
    @SerialName("consent")
    CONSENT,

    @SerialName("enrolment")
    ENROLMENT,

    @SerialName("examples")
    EXAMPLES,

    @SerialName("charging")
    CHARGING,

    @SerialName("idle")
    IDLE,

    @SerialName("network")
    NETWORK,

    @SerialName("battery")
    BATTERY,

    @SerialName("heat")
    HEAT,

    @SerialName("storage")
    STORAGE,

    @SerialName("next-contact")
    NEXT_CONTACT,

    @SerialName("last-session")
    LAST_SESSION,
}

/** Whether something keeps a phone from training. */
@Serializable
enum class Standing {
    @SerialName("ok")
    OK,

    @SerialName("blocked")
    BLOCKED,

    @SerialName("unknown")
    UNKNOWN,
}

/** What a person can do about it: an app shows a button. */
@Serializable
enum class PersonsAction {
    @SerialName("give-consent")
    GIVE_CONSENT,

    @SerialName("join")
    JOIN,

    @SerialName("record")
    RECORD,

    /** A session that the person watches: the phone's gates do not apply to it. */
    @SerialName("train-now")
    TRAIN_NOW,
}

/**
 * One fact.
 *
 * @property text a plain English sentence without a word of what was said
 * @property wish of [Topic.NEXT_CONTACT], whose it is
 * @property waitSecs of [Topic.NEXT_CONTACT], until then; null: not known or for ever
 * @property action only where something is blocked
 */
@Serializable
data class ExplanationLine(
    val topic: Topic,
    val standing: Standing,
    val text: String,
    val wish: Wish? = null,
    @SerialName("wait_secs") val waitSecs: Double? = null,
    val action: PersonsAction? = null,
)

/** Why a phone does not train now: facts in the order in which they are to be put right. */
@Serializable
data class Explanation(val lines: List<ExplanationLine>) {
    /** What stands in the way first; null: nothing that is known. */
    val obstacle: ExplanationLine? get() = lines.firstOrNull { it.standing == Standing.BLOCKED }

    /** The answer in one plain sentence. */
    val sentence: String
        get() = obstacle?.text ?: "Nothing stands in the way: the system starts the next session."

    /** One line of JSON. */
    fun toJson(): String = Json.encodeToString(serializer(), this)
}

/**
 * All that an [Explanation] is made of.
 *
 * @property held examples on the phone
 * @property usage what the phone's task makes of them; null before the first task has come
 * @property pacing null: no time was agreed
 * @property nowSecs Unix time
 */
class PhoneState(
    val consent: Boolean,
    val isEnrolled: Boolean,
    val held: Int,
    val usage: UsageCounts?,
    val requirements: Requirements,
    val conditions: Conditions,
    val pacing: Pacing?,
    val books: Books,
    val nowSecs: Double,
)
