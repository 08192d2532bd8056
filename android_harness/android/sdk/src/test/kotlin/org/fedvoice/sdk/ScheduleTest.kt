package org.fedvoice.sdk

import android.app.job.JobInfo
import android.content.ComponentName
import android.net.NetworkCapabilities
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
        assertEquals(0, job.maxExecutionDelayMillis)
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

    private fun isUnmetered(job: JobInfo) =
        job.requiredNetwork!!.hasCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)
}
