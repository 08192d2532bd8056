package org.fedvoice.core.session

import org.fedvoice.wire.CheckInRequest
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class DailyLimitsTest {
    private val limits = DailyLimits(attempts = 10, wakeUps = 4, bytes = 1000, cpuSecs = 60.0)
    private val day = DayCosts(sinceSecs = 5000.0)

    @Test
    fun `each limit stands for itself`() {
        assertFalse(limits.reached(DayCosts(5000.0, 9, 3, 999, 59.9)))
        assertTrue(limits.reached(day.copy(attempts = 10)))
        assertTrue(limits.reached(day.copy(wakeUps = 4)))
        assertTrue(limits.reached(day.copy(bytes = 1000)))
        assertTrue(limits.reached(day.copy(cpuSecs = 60.0)))
    }

    @Test
    fun `a session is counted with its calls, bytes and seconds`() {
        val request = CheckInRequest.newBuilder().setClientId("anna").build()
        val traffic = Traffic()
        repeat(2) {
            traffic.called()
            traffic.sent(request)
        }
        traffic.received(request)

        val counted = day.plus(traffic, 2.5).plus(Traffic(), -1.0)

        assertEquals(DayCosts(5000.0, 2, 2, 3 * (6 + 5), 2.5), counted)
    }

    @Test
    fun `a day is over after 24 hours, and when the clock is set back`() {
        val spent = day.copy(attempts = 7)

        assertEquals(spent, spent.at(5000.0))
        assertEquals(spent, spent.at(5000.0 + 86399))
        assertEquals(DayCosts(sinceSecs = 91400.0), spent.at(spent.endsSecs))
        assertEquals(DayCosts(sinceSecs = 4999.0), spent.at(4999.0))
    }

    @Test
    fun `a limit of nothing is refused`() {
        assertThrows(IllegalArgumentException::class.java) { DailyLimits(attempts = 0) }
        assertThrows(IllegalArgumentException::class.java) { DailyLimits(cpuSecs = -1.0) }
    }
}
