package org.fedvoice.dictation

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.Job
import kotlinx.coroutines.async

/**
 * The person's consent, as the screens show it: what they last wanted, until that holds. Changes
 * take time (a session may have to end first) and run in [scope], so that a screen that is closed
 * meanwhile takes none of them back. For the main thread.
 */
internal class Consent(
    private val scope: CoroutineScope,
    private val holds: () -> Boolean,
    private val set: suspend (Boolean) -> Unit,
) {
    private var wanted: Boolean? = null
    private var changes = 0
    private var last: Job? = null

    /** Where the switch is to stand. */
    val isOn: Boolean get() = wanted ?: holds()

    /** Whether a change has not ended yet. */
    val isChanging: Boolean get() = changes > 0

    /** Begins a change, which ends when it holds; several hold in the order of the calls. */
    fun change(given: Boolean): Deferred<Unit> {
        wanted = given
        changes += 1
        val change =
            scope.async {
                try {
                    set(given)
                } finally {
                    changes -= 1
                    if (changes == 0) wanted = null
                }
            }
        last = change
        return change
    }

    /** Returns when every change has ended. */
    suspend fun settle() {
        last?.join()
    }
}
