package org.fedvoice.dictation

import android.content.Context
import org.fedvoice.core.session.Explanation
import org.fedvoice.core.session.ExplanationLine
import org.fedvoice.core.session.PersonsAction
import org.fedvoice.core.session.Topic
import org.fedvoice.core.session.Wish

/**
 * Why the phone does not learn now, in one sentence of the person's language.
 *
 * @param kept examples on the phone
 */
internal fun Context.answerTo(explanation: Explanation, kept: Int): String {
    val obstacle = explanation.obstacle ?: return getString(R.string.answer_ready)
    return when (obstacle.topic) {
        Topic.CONSENT -> getString(R.string.answer_consent)
        Topic.ENROLMENT -> getString(R.string.answer_enrolment)
        Topic.EXAMPLES -> getString(unlearnable(kept))
        Topic.CHARGING -> getString(R.string.answer_charging)
        Topic.IDLE -> getString(R.string.answer_idle)
        Topic.NETWORK -> getString(R.string.answer_network)
        Topic.BATTERY -> getString(R.string.answer_battery)
        Topic.HEAT -> getString(R.string.answer_heat)
        Topic.STORAGE -> getString(R.string.answer_storage)
        Topic.NEXT_CONTACT -> waitingFor(obstacle)
        Topic.LAST_SESSION -> getString(R.string.answer_last_session)
    }
}

private fun unlearnable(kept: Int): Int =
    if (kept == 0) R.string.answer_no_examples else R.string.answer_unusable_examples

private fun Context.waitingFor(line: ExplanationLine): String {
    val wait = line.waitSecs?.let { timeFromNow(it) } ?: getString(R.string.wait_unknown)
    return when (line.wish) {
        Wish.SERVER -> getString(R.string.answer_server, wait)
        Wish.BACKOFF -> getString(R.string.answer_backoff, wait)
        Wish.DAILY_LIMIT -> getString(R.string.answer_daily_limit, wait)
        Wish.FINISHED -> getString(R.string.answer_finished)
        Wish.REFUSED -> getString(R.string.answer_refused)
        Wish.PERSON, null -> getString(R.string.answer_person, wait)
    }
}

/** What the button says with which a person does it. */
internal val PersonsAction.label: Int
    get() =
        when (this) {
            PersonsAction.GIVE_CONSENT -> R.string.action_consent
            PersonsAction.JOIN -> R.string.action_join
            PersonsAction.RECORD -> R.string.action_record
            PersonsAction.TRAIN_NOW -> R.string.action_train
        }
