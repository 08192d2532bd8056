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
        val sticky = context.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED))
        // A device without a battery is as good as on its charger.
        val hasBattery = sticky?.getBooleanExtra(BatteryManager.EXTRA_PRESENT, true) ?: true
        val network = network()
        return Conditions(
            charging = battery.isCharging || !hasBattery,
            idle = !power.isInteractive,
            unmetered = network.has(NetworkCapabilities.NET_CAPABILITY_NOT_METERED),
            online =
                network.has(NetworkCapabilities.NET_CAPABILITY_INTERNET) &&
                    network.has(NetworkCapabilities.NET_CAPABILITY_VALIDATED),
            batteryPercent = percent(battery).takeIf { hasBattery },
            freeStorageBytes = storageDir.usableSpace,
            freeMemoryBytes = freeMemoryBytes(),
            temperatureCelsius = celsius(sticky),
            throttling = isThrottling(power),
        )
    }

    /** What the network that the app uses is capable of, a VPN or not; null: there is none. */
    private fun network(): NetworkCapabilities? {
        val networks = context.getSystemService(ConnectivityManager::class.java)
        return networks.getNetworkCapabilities(networks.activeNetwork)
    }

    private fun NetworkCapabilities?.has(capability: Int) = this?.hasCapability(capability) == true

    private fun freeMemoryBytes(): Long {
        val memory = ActivityManager.MemoryInfo()
        context.getSystemService(ActivityManager::class.java).getMemoryInfo(memory)
        return maxOf(0, memory.availMem - memory.threshold)
    }

    /** Of the whole charge, or null if the phone does not say: it gives Int.MIN_VALUE then. */
    private fun percent(battery: BatteryManager): Int? =
        battery.getIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY).takeIf { it in 0..100 }

    /** Degrees, or null if the phone does not say. */
    private fun celsius(sticky: Intent?): Double? =
        sticky
            ?.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, UNKNOWN)
            ?.div(10.0)
            ?.takeIf { it in COLDEST..HOTTEST }

    /** Whether the phone has slowed itself down for heat; known since Android 10. */
    private fun isThrottling(power: PowerManager): Boolean =
        Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q &&
            power.currentThermalStatus >= PowerManager.THERMAL_STATUS_MODERATE

    private companion object {
        const val UNKNOWN = Int.MIN_VALUE

        /** Degrees of a battery that is not broken; a sensor that says others says nothing. */
        const val COLDEST = -60.0
        const val HOTTEST = 150.0
    }
}

/** The battery's charge, for the books; null if the phone does not say. */
internal fun chargeMicroampHours(context: Context): Long? {
    val battery = context.getSystemService(BatteryManager::class.java)
    val charge = battery.getLongProperty(BatteryManager.BATTERY_PROPERTY_CHARGE_COUNTER)
    // Int.MIN_VALUE is what some make of the platform's Long.MIN_VALUE; no battery is at 0.
    return charge.takeIf { it > 0 }
}
