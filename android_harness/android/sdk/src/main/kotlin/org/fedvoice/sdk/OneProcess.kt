package org.fedvoice.sdk

import org.fedvoice.core.session.Happened
import org.fedvoice.core.session.Outcome
import org.fedvoice.core.session.ProcessLock
import org.fedvoice.core.store.ExampleStore
import java.io.File

/**
 * Lets one process of the app at a time hold sessions: an app may start the library in several, and
 * they share the folder with the checkpoint and the update.
 *
 * A session that finds another one running leaves it alone; an enrolment, a task, a
 * withdrawal and a deletion wait for its end.
 *
 * @param lock a file that is locked meanwhile
 */
internal class OneProcess(private val phone: PhoneAccess, lock: File) : PhoneAccess by phone {
    private val lock = ProcessLock(lock)

    override suspend fun enrol(invitation: String) = alone { phone.enrol(invitation) }

    override suspend fun <T> alone(work: suspend () -> T): T =
        lock.waitingFor(LONGEST_WAIT_SECS, work)

    override suspend fun session(
        config: FedVoiceConfig,
        store: ExampleStore,
        overridden: Boolean,
        shouldStop: () -> Boolean,
    ): Outcome =
        lock.ifFree { phone.session(config, store, overridden, shouldStop) }
            ?: Outcome(
                Happened.NOT_READY,
                LATER_SECS,
                detail = "another process of the app runs a session",
            )

    private companion object {
        /** The one that runs schedules the next itself; this is for when it is killed. */
        const val LATER_SECS = 900.0
        const val LONGEST_WAIT_SECS = 60.0
    }
}
