package org.fedvoice.sdk

import android.app.job.JobInfo
import android.content.ComponentName
import android.net.NetworkCapabilities
import android.os.Build
import android.os.Parcel
import org.fedvoice.core.session.Requirements
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test

class ScheduleTest : SdkTest() {
    @Test
    fun `a session waits for charger, idleness and an unmetered network`() {
        val job = Schedule.next(app, 7, Requirements(), delaySecs = 90.0)

        assertTrue(job.isRequireCharging && job.isRequireDeviceIdle && job.isPersisted)
        assertTrue(job.isRequireBatteryNotLow && job.isRequireStorageNotLow)
        assertTrue(isUnmetered(job))
        assertEquals(90_000, job.minLatencyMillis)
    }

    @Test
    fun `a phone behind a VPN trains, one behind a login page does not`() {
        for (unmetered in listOf(true, false)) {
            val job = Schedule.next(app, 7, Requirements(unmetered = unmetered), delaySecs = 0.0)
            for (wanted in listOf(job, Schedule.now(app, 7))) {
                assertTrue(accepts(wanted, network()))
                assertTrue(accepts(wanted, network { it.becomesVpn() }))
                assertFalse(accepts(wanted, network { it.removeCapability(NET_VALIDATED) }))
                assertFalse(accepts(wanted, network { it.removeCapability(NET_INTERNET) }))
            }
            val metered = network { it.removeCapability(NET_NOT_METERED) }
            assertEquals(!unmetered, accepts(job, metered))
            assertTrue(accepts(Schedule.now(app, 7), metered))
        }
    }

    @Test
    fun `a job that waits for the same need not be replaced, nor one that a person asked for`() {
        val night = Requirements()
        val job = Schedule.next(app, 7, night, delaySecs = 90.0)

        assertTrue(Schedule.suits(job, night.copy(minBatteryPercent = 50)))
        assertFalse(Schedule.suits(job, night.copy(idle = false)))
        assertTrue(Schedule.suits(Schedule.now(app, 7), night))
    }

    @Test
    fun `what is scheduled survives the way to the system`() {
        val job = Schedule.next(app, 7, Requirements(idle = false), delaySecs = 1.0)
        val parcel = Parcel.obtain()
        job.writeToParcel(parcel, 0)
        parcel.setDataPosition(0)

        val arrived = JobInfo.CREATOR.createFromParcel(parcel)

        assertEquals(job.requiredNetwork, arrived.requiredNetwork)
        assertFalse(arrived.isRequireDeviceIdle)
        assertEquals(TrainingJob::class.java.name, arrived.service.className)
    }

    @Test
    fun `Android refuses back-off for idle jobs, which is why ours is a later job`() {
        val builder =
            JobInfo
                .Builder(1, ComponentName(app, TrainingJob::class.java))
                .setRequiresDeviceIdle(true)
                .setBackoffCriteria(30_000, JobInfo.BACKOFF_POLICY_EXPONENTIAL)

        assertThrows(IllegalArgumentException::class.java) { builder.build() }
    }

    @Test
    fun `a session that a person asked for waits for nothing but a network`() {
        val job = Schedule.now(app, 7)

        assertFalse(job.isRequireCharging || job.isRequireDeviceIdle || job.isPersisted)
        assertFalse(isUnmetered(job))
        // With a deadline the system starts it without a network; Android 15 refuses the two.
        assertFalse(job.hasLateConstraint())
        assertFalse(job.hasEarlyConstraint())
    }

    @Test
    fun `failures are retried ever later, a few times a day at most`() {
        val waits = (1..20).map { Schedule.backoffSecs(it, jitter = 0.5) }

        assertEquals(60.0, waits.first(), 1e-9)
        assertEquals(waits.sorted(), waits)
        assertEquals(6 * 3600.0, waits.last(), 1e-9)
        assertTrue("calls in the first day: ${callsInADay(waits)}", callsInADay(waits) < 15)
    }

    private fun callsInADay(waits: List<Double>): Int {
        var elapsed = 0.0
        return waits.takeWhile { wait -> (elapsed + wait).also { elapsed = it } < 86400 }.size
    }

    /** Whether a job's session may begin on [network]; the platform decides. */
    private fun accepts(job: JobInfo, network: NetworkCapabilities) =
        job.requiredNetwork!!.networkCapabilities.satisfiedByNetworkCapabilities(network)

    /** Wi-Fi at home, but for [change]. */
    private fun network(change: (NetworkCapabilities) -> Unit = {}): NetworkCapabilities =
        NetworkCapabilities().apply {
            addTransportType(NetworkCapabilities.TRANSPORT_WIFI)
            listOf(NET_INTERNET, NET_VALIDATED, NET_NOT_METERED).forEach(::addCapability)
            // What Android 12 and newer give every network that no carrier manages.
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) addCapability(NET_NOT_VCN_MANAGED)
            change(this)
        }

    private fun NetworkCapabilities.becomesVpn() {
        addTransportType(NetworkCapabilities.TRANSPORT_VPN)
        removeCapability(NetworkCapabilities.NET_CAPABILITY_NOT_VPN)
    }

    private fun isUnmetered(job: JobInfo) =
        job.requiredNetwork!!.hasCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)

    private companion object {
        const val NET_NOT_VCN_MANAGED = NetworkCapabilities.NET_CAPABILITY_NOT_VCN_MANAGED
        const val NET_INTERNET = NetworkCapabilities.NET_CAPABILITY_INTERNET
        const val NET_VALIDATED = NetworkCapabilities.NET_CAPABILITY_VALIDATED
        const val NET_NOT_METERED = NetworkCapabilities.NET_CAPABILITY_NOT_METERED
    }
}
