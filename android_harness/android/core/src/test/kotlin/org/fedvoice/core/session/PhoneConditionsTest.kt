package org.fedvoice.core.session

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

/** What a session does when the phone's state is not, or is no longer, what it needs. */
class PhoneConditionsTest {
    @TempDir
    lateinit var directory: File
    private lateinit var scene: Scene
    private val link get() = scene.link

    @BeforeEach
    fun setTheScene() {
        scene = Scene(directory)
    }

    private fun session(shouldStop: () -> Boolean = { false }): Outcome =
        runBlocking { scene.phone.runOnce(shouldStop = shouldStop) }

    @Test
    fun `heat and a low battery end training within one step, whatever the grace`() {
        val harmful =
            mapOf(
                "battery at 43.0 degrees" to Conditions(temperatureCelsius = 43.0),
                "too hot" to Conditions(throttling = true),
                "battery at 12%" to Conditions(batteryPercent = 12),
            )
        for ((said, conditions) in harmful) {
            scene = Scene(File(directory, said))
            scene.requirements =
                Requirements(minBatteryPercent = 30, maxTemperatureCelsius = 40.0)
            scene.restart()
            link.checkIns += assignment()
            var before = 0
            val outcome =
                session {
                    val steps = scene.engines.single().calls
                    if (steps == 2) {
                        scene.conditions = conditions
                        before = steps
                    }
                    false
                }

            assertEquals(Happened.INTERRUPTED, outcome.happened)
            assertEquals(said, outcome.detail)
            assertEquals(2, before)
            assertTrue(scene.engines.single().calls - before <= 1, said)
        }
    }

    @Test
    fun `what the device does not say is no obstacle and is not sent`() {
        scene.requirements = Requirements(minBatteryPercent = 30, maxTemperatureCelsius = 40.0)
        scene.conditions = Conditions(batteryPercent = null)
        scene.restart()

        session()

        val sent = link.checkedIn.single().conditions
        assertFalse(sent.hasBatteryPercent() || sent.hasFreeStorageBytes())
        assertFalse(sent.hasFreeMemoryBytes())
        assertTrue(Conditions(batteryPercent = 0).toMessage().hasBatteryPercent())
    }

    @Test
    fun `behind a login page no server is called, unless a person asks`() {
        scene.conditions = Conditions(online = false)

        assertEquals("not on the internet", session().detail)
        assertTrue(link.checkedIn.isEmpty())

        scene.conditions = Conditions(online = false, overridden = true)
        session()
        assertEquals(1, link.checkedIn.size)
    }

    @Test
    fun `lost conditions stop training after the grace and returning ones resume it`() {
        link.checkIns += assignment()
        var polls = 0
        val outcome =
            session {
                scene.clock.pass(4.0)
                if (++polls == 2) scene.conditions = Conditions(charging = false)
                false
            }
        assertEquals(Happened.INTERRUPTED, outcome.happened)
        assertEquals("not charging", outcome.detail)
        assertEquals(7.0, outcome.nextContactSecs)
        val ready = session()
        assertEquals(Happened.NOT_READY, ready.happened)
        assertEquals(0, ready.attempts)
        scene.conditions = Conditions()
        assertEquals(Happened.TRAINED, session().happened)
        assertEquals(6, scene.engines.sumOf { it.calls })
    }
}
