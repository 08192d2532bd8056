package org.fedvoice.sdk

import android.app.job.JobInfo
import android.app.job.JobScheduler
import kotlinx.coroutines.runBlocking
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.session.Requirements
import org.fedvoice.core.session.Wish
import org.junit.Assert.assertEquals
import org.junit.Assert.assertSame
import org.junit.Assert.assertTrue
import org.junit.Test

/** The host app calls `FedVoice.start` in every process: what was decided before stands. */
class RestartTest : SdkTest() {
    private val clock = HandClock()

    private val pending: List<JobInfo>
        get() = app.getSystemService(JobScheduler::class.java).allPendingJobs

    private fun session() =
        runBlocking {
            voice.sessions.clock = clock
            voice.schedule(voice.session())
        }

    @Test
    fun `the back-off of a server that is away stands`() {
        agree()
        phone.work = { throw FakePhone.failure(ErrorCode.SERVER_UNREACHABLE) }
        repeat(8) { session() }
        val before = pending.single()
        assertTrue(before.minLatencyMillis > 3_800_000)

        startAgain(clock = clock)

        assertSame(before, pending.single())
    }

    @Test
    fun `the server's next contact stands, and is put back if the system forgot it`() {
        agree()
        phone.work = { FakePhone.trained(nextContactSecs = 86400.0) }
        session()
        startAgain(clock = clock)
        assertEquals(86_400_000, pending.single().minLatencyMillis)

        Schedule.cancel(app, voice.config.jobId) // as a forced stop does
        clock.wall += 400
        startAgain(clock = clock)

        assertEquals(86_000_000, pending.single().minLatencyMillis)
    }

    @Test
    fun `finished and refused stand until a new enrolment, consent given again or not`() {
        val ends =
            mapOf(
                Wish.FINISHED to { FakePhone.trained(finished = true) },
                Wish.REFUSED to { throw FakePhone.failure(ErrorCode.BAD_CREDENTIALS) },
            )
        for ((wish, end) in ends) {
            agree()
            Schedule.cancel(app, voice.config.jobId)
            phone.work = { end() }
            session()

            startAgain(clock = clock)
            runBlocking { voice.setConsent(false) }
            agree()
            assertTrue("$wish", pending.isEmpty())
            assertEquals(null, runBlocking { voice.sessions.runIfDue() })

            runBlocking { voice.enrol("fedvoice1:$wish") }
            assertEquals("$wish", 0, pending.single().minLatencyMillis)
            startAgain(clock = clock)
            assertEquals("$wish", 0, pending.single().minLatencyMillis)
        }
    }

    @Test
    fun `an invitation given again at every start changes nothing`() {
        agree()
        runBlocking { voice.enrol("fedvoice1:once") }
        phone.work = { FakePhone.trained(nextContactSecs = 86400.0) }
        session()

        startAgain(clock = clock)
        runBlocking { voice.enrol("fedvoice1:once") }

        assertEquals(86_400_000, pending.single().minLatencyMillis)
    }

    @Test
    fun `a session that a person asked for in vain does not undo what the server said`() {
        agree()
        Schedule.cancel(app, voice.config.jobId)
        phone.work = { FakePhone.trained(finished = true) }
        session()
        phone.work = { throw FakePhone.failure(ErrorCode.SERVER_UNREACHABLE) }

        val next = runBlocking { voice.session(overridden = true) }

        assertEquals(null, next)
        startAgain(clock = clock)
        assertTrue(pending.isEmpty())
    }

    @Test
    fun `a job that runs is not stopped, whatever the new configuration wants`() =
        runBlocking {
            agree()
            val job = pending.single()
            val session = uploading()

            start(FedVoiceConfig(requirements = Requirements(charging = false)))

            assertSame(job, pending.single())
            session.cancel()
        }

    @Test
    fun `a job that waits for what is not wanted any more is replaced, its time kept`() {
        agree()
        phone.work = { FakePhone.trained(nextContactSecs = 3600.0) }
        session()
        clock.wall += 600

        startAgain(FedVoiceConfig(requirements = Requirements(charging = false)), clock)

        assertEquals(false, pending.single().isRequireCharging)
        assertEquals(3_000_000, pending.single().minLatencyMillis)
    }

    @Test
    fun `a clock that was set back makes no wait longer`() {
        agree()
        phone.work = { FakePhone.trained(nextContactSecs = 3600.0) }
        session()
        Schedule.cancel(app, voice.config.jobId)
        clock.wall -= 1e6

        startAgain(clock = clock)

        assertEquals(3_600_000, pending.single().minLatencyMillis)
    }
}
