package org.fedvoice.sdk

import android.app.job.JobInfo
import android.app.job.JobParameters
import android.app.job.JobScheduler
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.fedvoice.core.ErrorCode
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadow.api.Shadow
import org.robolectric.util.ReflectionHelpers

class TrainingJobTest : SdkTest() {
    private val parameters: JobParameters = Shadow.newInstanceOf(JobParameters::class.java)
    private val job: TrainingJob by lazy {
        Robolectric.buildService(TrainingJob::class.java).create().get()
    }

    private val pending: List<JobInfo>
        get() = app.getSystemService(JobScheduler::class.java).allPendingJobs

    @Test
    fun `without consent no session runs`() {
        assertFalse(job.onStartJob(parameters))
        assertTrue(phone.overrides.isEmpty())
    }

    @Test
    fun `a session ends the job, fills the books and schedules the next contact`() {
        agree()

        assertTrue(job.onStartJob(parameters))
        waitFor { shadowOf(job).isJobFinished && pending.any { it.minLatencyMillis == 600_000L } }

        assertFalse(shadowOf(job).isRescheduleNeeded)
        assertEquals(listOf(false), phone.overrides)
        val books = voice.status
        assertEquals(1, books.trained)
        assertEquals(7, books.examples)
        assertEquals(1000, books.bytesUp)
        assertEquals("trained", books.lastHappened)
    }

    @Test
    fun `when the server has finished, nothing is scheduled any more`() {
        agree()
        Schedule.cancel(app, voice.config.jobId)
        phone.work = { FakePhone.trained(finished = true) }

        job.onStartJob(parameters)
        waitFor { shadowOf(job).isJobFinished }

        assertTrue(pending.isEmpty())
    }

    @Test
    fun `a failed session is tried again later`() {
        agree()
        phone.work = { throw failure(ErrorCode.SERVER_UNREACHABLE) }

        job.onStartJob(parameters)
        waitFor { shadowOf(job).isJobFinished && pending.single().minLatencyMillis > 0 }

        assertEquals("server-unreachable", voice.status.lastError)
        assertEquals(1, voice.status.failures)
    }

    @Test
    fun `a refused certificate is not shown again and again`() {
        agree()
        Schedule.cancel(app, voice.config.jobId)
        phone.work = { throw failure(ErrorCode.BAD_CREDENTIALS) }

        job.onStartJob(parameters)
        waitFor { shadowOf(job).isJobFinished }

        assertTrue(pending.isEmpty())
        assertEquals("bad-credentials", voice.status.lastError)
    }

    @Test
    fun `when the system asks to stop, the session stops and the job comes back`() {
        agree()
        val started = CompletableDeferred<Unit>()
        val stopped = CompletableDeferred<Unit>()
        phone.work = {
            started.complete(Unit)
            try {
                awaitCancellation()
            } finally {
                stopped.complete(Unit)
            }
        }
        job.onStartJob(parameters)
        runBlocking { withTimeout(5000) { started.await() } }

        assertTrue(job.onStopJob(parameters))

        runBlocking { withTimeout(5000) { stopped.await() } }
        assertFalse(shadowOf(job).isJobFinished)
    }

    @Test
    fun `what a stopped session cost is counted`() {
        agree()
        phone.work = {
            phone.traffic.called()
            awaitCancellation()
        }
        job.onStartJob(parameters)
        waitFor { phone.traffic.attempts == 1 }

        job.onStopJob(parameters)

        waitFor { voice.status.today.wakeUps == 1 }
        assertEquals(1, voice.status.today.attempts)
    }

    @Test
    fun `a job that comes before its time calls no server and is put off`() {
        agree()
        phone.work = { FakePhone.trained(nextContactSecs = 86400.0) }
        runBlocking { voice.session() }

        job.onStartJob(parameters)
        waitFor { shadowOf(job).isJobFinished && pending.single().minLatencyMillis > 0 }

        assertEquals(1, phone.overrides.size)
        assertEquals(86_400_000.0, pending.single().minLatencyMillis.toDouble(), 60_000.0)
    }

    @Test
    fun `a job that a person asked for overrides the gates and the next contact`() {
        agree()
        phone.work = { FakePhone.trained(nextContactSecs = 86400.0) }
        runBlocking { voice.session() }
        voice.trainNowInBackground()
        ReflectionHelpers.setField(parameters, "extras", pending.single().extras)

        job.onStartJob(parameters)
        waitFor { shadowOf(job).isJobFinished }

        assertEquals(listOf(false, true), phone.overrides)
    }

    private fun failure(code: ErrorCode) = FakePhone.failure(code)
}
