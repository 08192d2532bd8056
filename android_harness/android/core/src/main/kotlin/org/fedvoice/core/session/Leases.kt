package org.fedvoice.core.session

import org.fedvoice.wire.Assignment
import kotlin.math.max
import kotlin.math.min

/** An assignment and the time for which the phone may work on it. */
class Lease internal constructor(
    val assignment: Assignment,
    private val endsAtElapsedSecs: Double,
    private val clock: Clock,
) {
    /** Whether the time is up. */
    fun over(): Boolean = leftSecs() <= 0

    /** Until then; negative after it. */
    fun leftSecs(): Double = endsAtElapsedSecs - clock.elapsedSecs()
}

/**
 * The assignment in work and its lease, over restarts and clocks that are set.
 *
 * While the process lives, the lease counts on the monotonic clock. A process that finds an
 * earlier one's assignment has only the wall clock to go by: it takes what is left by that, never
 * more than the whole lease. If the clock was wrong, no harm is done: the server alone decides
 * whether a report is late.
 */
class Leases(private val file: AssignmentFile, private val clock: Clock) {
    private var lease: Lease? = null

    /** The assignment in work, of this process or of an earlier one. */
    fun current(): Lease? {
        if (lease == null) {
            file.get()?.let { held ->
                val leaseSecs = held.assignment.leaseSecs
                val leftSecs = held.receivedSecs + leaseSecs - clock.wallSecs()
                lease = lasting(held.assignment, max(0.0, min(leftSecs, leaseSecs)))
            }
        }
        return lease
    }

    /** Keeps an assignment that came now. */
    fun take(assignment: Assignment): Lease {
        file.put(HeldAssignment(assignment, clock.wallSecs()))
        return lasting(assignment, assignment.leaseSecs).also { lease = it }
    }

    /** Forgets it. */
    fun drop() {
        file.clear()
        lease = null
    }

    private fun lasting(assignment: Assignment, secs: Double) =
        Lease(assignment, clock.elapsedSecs() + secs, clock)
}
