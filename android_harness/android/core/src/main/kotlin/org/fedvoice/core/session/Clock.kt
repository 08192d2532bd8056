package org.fedvoice.core.session

/**
 * Two clocks, because people and networks set one of them.
 *
 * A lease that came while this process lives counts on [elapsedSecs], so that a wall clock that
 * jumps neither extends nor ends it. Only what another process left behind counts on [wallSecs].
 */
interface Clock {
    /** Unix time. */
    fun wallSecs(): Double

    /** Seconds from an arbitrary start, never set; counts while the device sleeps. */
    fun elapsedSecs(): Double
}

/** The machine's clocks; on Android, `SystemClock.elapsedRealtime` takes the second one's place. */
object SystemClock : Clock {
    override fun wallSecs(): Double = System.currentTimeMillis() / 1e3

    override fun elapsedSecs(): Double = System.nanoTime() / 1e9
}
