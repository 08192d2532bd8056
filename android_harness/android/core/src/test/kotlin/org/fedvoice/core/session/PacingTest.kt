package org.fedvoice.core.session

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class PacingTest {
    @TempDir
    lateinit var folder: File

    private val inTwoHours = Pacing(nextContactSecs = 17200.0, Wish.SERVER, sinceSecs = 10000.0)

    @Test
    fun `a process that starts again reads what was decided`() {
        val file = File(folder, "not/yet/there/pacing.json")
        for (wish in Wish.entries) {
            PacingFile(file).put(inTwoHours.copy(wish = wish))

            assertEquals(inTwoHours.copy(wish = wish), PacingFile(file).read())
        }

        PacingFile(file).clear()
        assertNull(PacingFile(file).read())
    }

    @Test
    fun `what is damaged or of a later version counts as none`() {
        val file = File(folder, "pacing.json")
        for (text in listOf(
            "",
            "{",
            "[]",
            """{"next_contact_secs":1,"wish":"tides","since_secs":0}""",
        )) {
            file.writeText(text)

            assertNull(PacingFile(file).read(), text)
        }
        file.writeText("""{"next_contact_secs":1,"wish":"server","since_secs":0,"new":1}""")
        assertEquals(Pacing(1.0, Wish.SERVER, 0.0), PacingFile(file).read())
    }

    @Test
    fun `the wait shrinks as time goes by`() {
        assertEquals(7200.0, inTwoHours.delaySecs(10000.0))
        assertEquals(200.0, inTwoHours.delaySecs(17000.0))
        assertEquals(0.0, inTwoHours.delaySecs(99999.0))
        assertEquals(0.0, Pacing(0.0, Wish.PERSON, 10000.0).delaySecs(10000.0))
    }

    @Test
    fun `a clock that was set back makes no wait longer, nor one without end`() {
        assertEquals(7200.0, inTwoHours.delaySecs(-1e9))

        val retold = inTwoHours.onClock(500.0)

        assertEquals(Pacing(7700.0, Wish.SERVER, 500.0), retold)
        assertEquals(1000.0, retold.onClock(6700.0).delaySecs(6700.0))
        assertEquals(inTwoHours, inTwoHours.onClock(10001.0))
    }

    @Test
    fun `only a new enrolment ends finished and refused`() {
        val over = Wish.entries.filter { inTwoHours.copy(wish = it).isOver }

        assertEquals(listOf(Wish.FINISHED, Wish.REFUSED), over)
    }

    @Test
    fun `what is not a time is no pacing`() {
        assertThrows(IllegalArgumentException::class.java) {
            Pacing(Double.NaN, Wish.SERVER, 0.0)
        }
    }
}
