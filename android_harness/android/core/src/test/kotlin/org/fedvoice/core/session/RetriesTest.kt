package org.fedvoice.core.session

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class RetriesTest {
    @Test
    fun `a day without a server costs a phone few calls`() {
        for (spread in listOf(0.75, 1.25)) {
            val away = AwayWait { spread }
            var secs = 0.0
            var sessions = 0
            while (secs < DAY_SECS) {
                secs += away.nextSecs()
                sessions += 1
            }
            assertTrue(sessions * CallPolicy().maxAttempts <= MOST_TRIES)
            assertTrue(sessions >= DAY_SECS / 3600 / 1.25, "it calls again within the hour or so")
        }
    }

    @Test
    fun `a server that answered is called soon again`() {
        val away = AwayWait { 1.0 }
        val waits = List(10) { away.nextSecs() }
        assertEquals(listOf(30.0, 60.0, 120.0), waits.take(3))
        assertEquals(3600.0, waits.last())
        away.answered()
        assertEquals(30.0, away.nextSecs())
    }

    @Test
    fun `phones do not call all at once`() {
        val firsts = List(200) { AwayWait().nextSecs() }
        assertTrue(firsts.all { it in 22.5..37.5 })
        assertTrue(firsts.toSet().size > 100)
    }

    private companion object {
        const val DAY_SECS = 86_400.0

        /** As `tests/faults/test_battery.py` holds the Python phone to. */
        const val MOST_TRIES = 250
    }
}
