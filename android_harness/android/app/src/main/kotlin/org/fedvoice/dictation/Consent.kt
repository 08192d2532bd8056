package org.fedvoice.dictation

import kotlinx.coroutines.CoroutineScope
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

    /** Where the switch is to stand. */
    val isOn: Boolean get() = wanted ?: holds()

    /** Returns when the change holds; several hold in the order of the calls. */
    suspend fun change(given: Boolean) {
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
        change.await()
    }
}
