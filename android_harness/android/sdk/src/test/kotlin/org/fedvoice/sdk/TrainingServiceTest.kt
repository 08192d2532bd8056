package org.fedvoice.sdk

import android.app.ForegroundServiceStartNotAllowedException
import android.app.Notification
import android.app.Service
import android.app.job.JobInfo
import android.app.job.JobScheduler
import android.content.pm.ServiceInfo
import android.os.Build
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ServiceController
import org.robolectric.annotation.Config

class TrainingServiceTest : SdkTest() {
    private val controller: ServiceController<TrainingService> =
        Robolectric.buildService(TrainingService::class.java).create()
    private val service: TrainingService = controller.get()

    private val pending: List<JobInfo>
        get() = app.getSystemService(JobScheduler::class.java).allPendingJobs

    @Test
    fun `a session that a person started shows itself and ends by itself`() {
        agree()

        controller.startCommand(0, 1)
        val notification = shadowOf(service).lastForegroundNotification
        waitFor { shadowOf(service).isStoppedBySelf }

        assertEquals(
            "Nothing you said leaves this phone.",
            notification.extras.getString(Notification.EXTRA_TEXT),
        )
        assertTrue(notification.flags and Notification.FLAG_ONGOING_EVENT != 0)
        assertEquals(listOf(true), phone.overrides)
    }

    @Test
    @Config(sdk = [34, 35])
    fun `when its time is up it stops at once, and a job does the rest`() {
        agree()
        // A far next contact must not keep the rest back.
        phone.work = { FakePhone.trained(nextContactSecs = 86400.0) }
        runBlocking { voice.schedule(voice.session()) }
        val begun = CompletableDeferred<Unit>()
        val stopped = CompletableDeferred<Unit>()
        phone.work = {
            begun.complete(Unit)
            try {
                awaitCancellation()
            } finally {
                stopped.complete(Unit) // the checkpoint: PhoneTest
            }
        }
        controller.startCommand(0, 1)
        waitFor { begun.isCompleted }

        timeout()

        assertTrue(shadowOf(service).isStoppedBySelf)
        assertTrue(shadowOf(service).isForegroundStopped)
        waitFor { stopped.isCompleted && pending.single().minLatencyMillis == 0L }
        assertTrue("the rest waits for the charger", pending.single().isRequireCharging)
    }

    @Test
    fun `where the system allows no service in the foreground a job takes its place`() {
        agree()
        for (refusal in refusals()) {
            Schedule.cancel(app, voice.config.jobId)
            shadowOf(service).setThrowInStartForeground(refusal)

            controller.startCommand(0, 1)

            waitFor { pending.isNotEmpty() && voice.status.lastError == "no-foreground" }
            assertTrue(shadowOf(service).isStoppedBySelf)
            assertFalse("at once", pending.single().isRequireCharging)
            assertTrue(phone.overrides.isEmpty())
        }
    }

    private fun refusals(): List<Exception> =
        listOf(SecurityException("no permission"), IllegalStateException("in the background")) +
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) {
                listOf(ForegroundServiceStartNotAllowedException("time limit exhausted"))
            } else {
                emptyList()
            }

    /** As the system does it: by the method that its version has. */
    private fun timeout() {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.UPSIDE_DOWN_CAKE + 1) {
            return service.onTimeout(1)
        }
        val int = Int::class.javaPrimitiveType
        Service::class
            .java
            .getMethod("onTimeout", int, int)
            .invoke(service, 1, ServiceInfo.FOREGROUND_SERVICE_TYPE_DATA_SYNC)
    }
}
