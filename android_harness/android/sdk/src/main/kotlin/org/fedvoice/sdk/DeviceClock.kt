package org.fedvoice.sdk

import android.os.SystemClock
import org.fedvoice.core.session.Clock

/** Android's clocks: the second one counts on while the phone sleeps. */
internal object DeviceClock : Clock {
    override fun wallSecs(): Double = System.currentTimeMillis() / 1e3

    override fun elapsedSecs(): Double = SystemClock.elapsedRealtimeNanos() / 1e9
}
