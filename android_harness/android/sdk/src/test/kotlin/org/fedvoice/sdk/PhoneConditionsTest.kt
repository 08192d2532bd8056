package org.fedvoice.sdk

import android.os.PowerManager
import org.fedvoice.core.session.Conditions
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config

class PhoneConditionsTest : SdkTest() {
    private val requirements = FedVoiceConfig().requirements

    private fun read(): Conditions = PhoneConditions(app, app.filesDir).read()

    @Test
    fun `a phone on its charger at night may work`() {
        conditions()

        val now = read()

        assertEquals(emptyList<String>(), requirements.missing(now))
        assertEquals(80, now.batteryPercent)
        assertEquals(30.0, now.temperatureCelsius!!, 1e-9)
        assertTrue(now.freeStorageBytes > 0)
    }

    @Test
    fun `each guard says why the phone may not work`() {
        conditions(charging = false)
        assertEquals(listOf("not charging"), requirements.missing(read()))
        conditions(inUse = true)
        assertEquals(listOf("in use"), requirements.missing(read()))
        conditions(metered = true)
        assertEquals(listOf("on a metered network"), requirements.missing(read()))
        conditions(batteryPercent = 12)
        assertEquals(listOf("battery at 12%"), requirements.missing(read()))
        conditions(celsius = 43)
        assertEquals(listOf("battery at 43.0 degrees"), requirements.missing(read()))
    }

    @Test
    @Config(sdk = [34, 35])
    fun `a phone that slows itself down for heat is left alone`() {
        conditions()
        val power = shadowOf(app.getSystemService(PowerManager::class.java))
        power.setCurrentThermalStatus(PowerManager.THERMAL_STATUS_SEVERE)

        assertEquals(listOf("too hot"), requirements.missing(read()))
    }
}
