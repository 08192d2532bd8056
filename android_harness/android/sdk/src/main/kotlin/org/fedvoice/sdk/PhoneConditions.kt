package org.fedvoice.sdk

import android.app.ActivityManager
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.net.ConnectivityManager
import android.net.NetworkCapabilities
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import org.fedvoice.core.session.ConditionSource
import org.fedvoice.core.session.Conditions
import java.io.File

/**
 * What Android says of the phone.
 *
 * @property storageDir on the file system whose free space counts
 */
class PhoneConditions(private val context: Context, private val storageDir: File) :
    ConditionSource {
    override fun read(): Conditions {
        val battery = context.getSystemService(BatteryManager::class.java)
        val power = context.getSystemService(PowerManager::class.java)
        return Conditions(
            charging = battery.isCharging,
            idle = !power.isInteractive,
            unmetered = isUnmetered(),
            batteryPercent = battery.getIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY),
            freeStorageBytes = storageDir.usableSpace,
            freeMemoryBytes = freeMemoryBytes(),
            temperatureCelsius = batteryTemperature(),
            throttling = isThrottling(power),
        )
    }

    private fun isUnmetered(): Boolean {
        val networks = context.getSystemService(ConnectivityManager::class.java)
        val active = networks.getNetworkCapabilities(networks.activeNetwork) ?: return false
        return active.hasCapability(NetworkCapabilities.NET_CAPABILITY_INTERNET) &&
            active.hasCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)
    }

    private fun freeMemoryBytes(): Long {
        val memory = ActivityManager.MemoryInfo()
        context.getSystemService(ActivityManager::class.java).getMemoryInfo(memory)
        return maxOf(0, memory.availMem - memory.threshold)
    }

    /** Degrees, or null if the phone does not say. */
    private fun batteryTemperature(): Double? {
        val sticky = context.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED))
        val tenths = sticky?.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, UNKNOWN) ?: UNKNOWN
        return if (tenths == UNKNOWN) null else tenths / 10.0
    }

    /** Whether the phone has slowed itself down for heat; known since Android 10. */
    private fun isThrottling(power: PowerManager): Boolean =
        Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q &&
            power.currentThermalStatus >= PowerManager.THERMAL_STATUS_MODERATE

    private companion object {
        const val UNKNOWN = Int.MIN_VALUE
    }
}

/** The battery's charge, for the books: what a session took out of it. */
internal fun chargeMicroampHours(context: Context): Long {
    val battery = context.getSystemService(BatteryManager::class.java)
    val charge = battery.getLongProperty(BatteryManager.BATTERY_PROPERTY_CHARGE_COUNTER)
    return if (charge == Long.MIN_VALUE) 0 else charge
}
