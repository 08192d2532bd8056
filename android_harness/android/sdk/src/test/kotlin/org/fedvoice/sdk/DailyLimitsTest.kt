package org.fedvoice.sdk

import kotlinx.coroutines.async
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.yield
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.session.DailyLimits
import org.fedvoice.core.session.Happened
import org.fedvoice.core.session.Outcome
import org.fedvoice.core.session.PacingFile
import org.fedvoice.core.session.Wish
import org.fedvoice.wire.CheckInRequest
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.robolectric.annotation.Config

/**
 * What training costs a person is bounded; `docs/android.md` has the numbers of a week. Whole weeks
 * of sessions, and no rule of the platform: on one version.
 */
@Config(sdk = [34])
class DailyLimitsTest : SdkTest() {
    private val clock = HandClock()
    private val begin = clock.wall
    private var attempts = 0

    @Before
    fun agreed() {
        voice.sessions.clock = clock
        voice.sessions.jitter = { 0.0 } // the shortest waits there are
        agree()
    }

    /** Runs every session of [days] days that the phone would run. */
    private fun live(days: Int = 7) =
        runBlocking {
            while (clock.wall < begin + days * DAY_SECS) {
                clock.wall += voice.sessions.runIfDue() ?: break
            }
        }

    private fun calls(number: Int) {
        repeat(number) { phone.traffic.called() }
        attempts += number
    }

    @Test
    fun `a phone whose server is away for a week calls it 320 times at most`() {
        phone.work = {
            calls(ATTEMPTS_OF_A_CALL)
            throw FakePhone.failure(ErrorCode.SERVER_UNREACHABLE)
        }

        live()

        assertTrue("$attempts attempts", attempts in 1..320)
        assertEquals(attempts.toLong(), voice.status.attempts)
    }

    @Test
    fun `a phone whose calls the server rejects makes 64 attempts in a week at most`() {
        phone.work = {
            calls(1)
            throw FakePhone.failure(ErrorCode.SERVER_REJECTED)
        }

        live()

        assertTrue("$attempts attempts", attempts in 1..64)
    }

    @Test
    fun `a phone whose certificate is refused makes one attempt`() {
        phone.work = {
            calls(1)
            throw FakePhone.failure(ErrorCode.BAD_CREDENTIALS)
        }

        live()

        assertEquals(1, attempts)
    }

    @Test
    fun `a server that wants to be called at once is called as often as a day allows`() {
        start(FedVoiceConfig(dailyLimits = DailyLimits(attempts = 20)))
        phone.work = {
            calls(4)
            FakePhone.trained(nextContactSecs = 1.0)
        }

        live(days = 3)

        assertEquals(3 * 20, attempts)
        assertEquals(Wish.DAILY_LIMIT, PacingFile(files.pacing).read()!!.wish)
        assertEquals(20, voice.status.today.attempts)
    }

    @Test
    fun `each limit makes the phone wait until the next day`() {
        val limits =
            listOf(
                DailyLimits(wakeUps = 3),
                DailyLimits(bytes = 9000),
                DailyLimits(attempts = 12),
            )
        for (limit in limits) {
            start(FedVoiceConfig(dailyLimits = limit))
            clock.wall += 2 * DAY_SECS
            val started = clock.wall
            phone.work = {
                calls(4)
                repeat(3) { phone.traffic.received(thousandBytes()) }
                FakePhone.trained(nextContactSecs = 10.0)
            }

            runBlocking { repeat(3) { clock.wall += voice.sessions.runIfDue()!! } }

            assertEquals("$limit", started + DAY_SECS, clock.wall, 1.0)
        }
    }

    @Test
    fun `a phone that is never ready wakes up 48 times a day at most`() {
        phone.work = { Outcome(Happened.NOT_READY, nextContactSecs = 600.0) }

        live(days = 2)

        assertTrue(phone.overrides.size <= 2 * 48)
        assertEquals(48, voice.status.today.wakeUps)
    }

    @Test
    fun `sessions that the system stops again and again are limited, too`() {
        start(FedVoiceConfig(dailyLimits = DailyLimits(wakeUps = 3)))
        phone.work = { awaitCancellation() }

        runBlocking {
            repeat(5) {
                val session = async { voice.sessions.runIfDue() }
                repeat(100) { yield() }
                session.cancel()
            }
        }

        assertEquals(3, phone.overrides.size)
        assertEquals(Wish.DAILY_LIMIT, PacingFile(files.pacing).read()!!.wish)
    }

    @Test
    fun `training stops between steps when the day's CPU is spent, and goes on next day`() {
        start(FedVoiceConfig(dailyLimits = DailyLimits(cpuSecs = 100.0)))
        var cpuSecs = 5000.0
        var steps = 0
        voice.sessions.cpuSecs = { cpuSecs }
        phone.work = { shouldStop ->
            while (!shouldStop()) {
                cpuSecs += 30.0
                steps += 1
            }
            Outcome(Happened.INTERRUPTED, nextContactSecs = 600.0)
        }

        val waitSecs = runBlocking { voice.sessions.runIfDue()!! }

        assertEquals(4, steps)
        assertEquals(DAY_SECS, waitSecs, 1.0)
        clock.wall += waitSecs
        runBlocking { voice.sessions.runIfDue() }
        assertEquals(8, steps)
    }

    @Test
    fun `a person may ask for more than the day allows, and it is counted`() {
        start(FedVoiceConfig(dailyLimits = DailyLimits(wakeUps = 1)))

        runBlocking { repeat(2) { voice.session(overridden = true) } }

        assertEquals(listOf(true, true), phone.overrides)
        assertEquals(2, voice.status.today.wakeUps)
    }

    private fun thousandBytes() =
        CheckInRequest
            .newBuilder()
            .setClientId("x".repeat(1000))
            .build()

    private companion object {
        const val DAY_SECS = 86400.0
        const val ATTEMPTS_OF_A_CALL = 5
    }
}
