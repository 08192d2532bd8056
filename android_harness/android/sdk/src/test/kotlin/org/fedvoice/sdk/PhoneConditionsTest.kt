package org.fedvoice.sdk

import android.os.BatteryManager
import android.os.PowerManager
import org.fedvoice.core.session.Conditions
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
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
        assertTrue(now.freeStorageBytes!! > 0)
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
    fun `what the device does not say is not looked at`() {
        conditions(batteryPercent = Int.MIN_VALUE, celsius = null)

        val now = read()

        assertNull(now.batteryPercent)
        assertNull(now.temperatureCelsius)
        assertEquals(emptyList<String>(), requirements.missing(now))
        assertFalse(now.toMessage().hasBatteryPercent())
    }

    @Test
    fun `a battery that says nonsense says nothing`() {
        for (percent in listOf(-1, 101, Int.MAX_VALUE)) {
            conditions(batteryPercent = percent, celsius = 3000)

            assertNull(read().batteryPercent)
            assertNull(read().temperatureCelsius)
        }
        conditions(batteryPercent = 0)
        assertEquals(0, read().batteryPercent)
    }

    @Test
    fun `a device without a battery counts as charging`() {
        conditions(charging = false, batteryPercent = 0, hasBattery = false)

        assertEquals(emptyList<String>(), requirements.missing(read()))
    }

    @Test
    fun `a charge that the device does not count leaves no trace in the books`() {
        val battery = shadowOf(app.getSystemService(BatteryManager::class.java))
        for (unknown in listOf(Long.MIN_VALUE, Int.MIN_VALUE.toLong(), 0)) {
            battery.setLongProperty(BatteryManager.BATTERY_PROPERTY_CHARGE_COUNTER, unknown)
            assertNull(chargeMicroampHours(app))
        }
        battery.setLongProperty(BatteryManager.BATTERY_PROPERTY_CHARGE_COUNTER, 2_000_000)

        assertEquals(0, spentMicroampHours(2_000_000, null))
        assertEquals(0, spentMicroampHours(null, 2_000_000))
        assertEquals(500, spentMicroampHours(2_000_500, chargeMicroampHours(app)))
    }

    @Test
    fun `a login page is not the internet`() {
        conditions(loginPage = true)

        assertEquals(listOf("not on the internet"), requirements.missing(read()))
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
