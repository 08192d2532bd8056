package org.fedvoice.desktop

import org.fedvoice.core.session.Clock
import org.fedvoice.core.session.SystemClock
import java.io.File
import java.io.IOException

/**
 * The wall clock as somebody sets it, for tests: the machine's, and so many seconds as [file] says
 * on top, from the moment that it is there.
 */
internal class TurnedClock(private val file: File) : Clock by SystemClock {
    override fun wallSecs(): Double = SystemClock.wallSecs() + turnedSecs()

    private fun turnedSecs(): Double =
        try {
            file.readText().toDouble()
        } catch (_: IOException) {
            0.0
        }
}
