package org.fedvoice.sdk

import android.content.Context
import android.os.Process
import android.util.Log
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Job
import kotlinx.coroutines.async
import kotlinx.coroutines.cancel
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.delay
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.launch
import kotlinx.coroutines.supervisorScope
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.session.BooksFile
import org.fedvoice.core.session.Clock
import org.fedvoice.core.session.Happened
import org.fedvoice.core.session.Outcome
import org.fedvoice.core.session.Pacing
import org.fedvoice.core.session.PacingFile
import org.fedvoice.core.session.SessionLog
import org.fedvoice.core.session.SessionRecord
import org.fedvoice.core.session.Traffic
import org.fedvoice.core.session.Wish
import org.fedvoice.core.session.withdrawUnsent
import java.io.IOException
import kotlin.random.Random

/**
 * The library's sessions, one at a time: each is counted, and what it decides of the next contact
 * is on disk before its job ends, so that a process that starts again changes nothing of it.
 */
internal class Sessions(
    private val context: Context,
    private val voice: FedVoice,
    private val files: PhoneFiles,
) {
    private val books = BooksFile(files.books)
    private val log = SessionLog(files.sessions)
    private val pacing = PacingFile(files.pacing)
    private val oneAtATime = Mutex()

    @Volatile
    private var running: Job? = null

    /** Tests put others here. */
    var clock: Clock = DeviceClock
    var jitter: () -> Double = Random::nextDouble
    var cpuSecs: () -> Double = { Process.getElapsedCpuTime() / 1e3 }

    /**
     * One session with the server; never fails: what went wrong is in the books.
     *
     * @param overridden a person asked for it: neither gates nor the day's limits keep it back
     * @return seconds to wait for the next one; null: none is wanted
     */
    suspend fun run(overridden: Boolean = false): Double? =
        oneAtATime.withLock {
            if (!voice.consent) return@withLock null
            var traffic = Traffic()
            try {
                val before = charge()
                val outcome = counted({ traffic = it }) { work(overridden) }
                val spent = spentMicroampHours(before, charge())
                books.update { it.plus(outcome, spent, now()) }
                tell(SessionRecord.of(outcome, now()))
                Log.i(TAG, "${outcome.happened.id} round ${outcome.round ?: "-"} ${outcome.detail}")
                decide(wishOf(outcome), outcome.nextContactSecs)
            } catch (error: CancellationException) {
                tell(SessionRecord.of(Happened.INTERRUPTED.id, traffic, now()))
                // The system's stop ends the caller as well; a withdrawal ends the session alone.
                currentCoroutineContext().ensureActive()
                Log.i(TAG, "withdrawn: ${error.message}")
                null
            } catch (error: FedvoiceException) {
                Log.w(TAG, error.message.orEmpty())
                failed(error.code.id, traffic)
            } catch (error: IOException) {
                Log.e(TAG, "the session failed", error)
                failed("io", traffic)
            } catch (error: RuntimeException) {
                // No failure of a session may end the host app.
                Log.e(TAG, "the session failed", error)
                failed("internal", traffic)
            }
        }

    /**
     * As [run] for a job that the system started: it may come before its time, as after a process
     * that died at the end of a session, and then the server is not called.
     */
    suspend fun runIfDue(): Double? {
        val decided = told()
        val leftSecs = decided.delaySecs(now())
        val today = books.read().today
        return when {
            decided.isOver -> null
            leftSecs > EARLY_SECS -> leftSecs
            // As after sessions that the system stopped, which decide nothing.
            voice.config.dailyLimits.reached(today.at(now())) -> decide(Wish.BACKOFF, 0.0)
            else -> run()
        }
    }

    /** Puts the next session [delaySecs] from now, if there is to be one. */
    fun schedule(delaySecs: Double?) {
        if (delaySecs == null || !voice.consent) return
        try {
            val config = voice.config
            Schedule.put(
                context,
                Schedule.next(context, config.jobId, config.requirements, delaySecs),
            )
        } catch (error: IllegalStateException) {
            // The host app has a hundred jobs: no reason to end it. The next start tries again.
            Log.e(TAG, "no session is scheduled", error)
        }
    }

    /** A session as soon as the phone's state allows, whatever was decided before. */
    fun soon() {
        keep(Pacing(now(), Wish.PERSON, now()))
        schedule(0.0)
    }

    /**
     * Sees that what was decided before is scheduled, as after the start of the app's process. A
     * pending job that waits for the same is kept: to replace it would stop it if it runs.
     *
     * @param settleSecs in which a job that this process was started for has begun its session
     */
    suspend fun resume(settleSecs: Double = 0.0) {
        if (!voice.consent || !voice.phone.isEnrolled) return
        val decided = told()
        if (decided.isOver) return
        val config = voice.config
        val pending = Schedule.pending(context, config.jobId)
        if (pending != null) {
            if (running != null || Schedule.suits(pending, config.requirements)) return
            // It waits for what an earlier configuration wanted. If it is due, this process may
            // have been started for it: then its session begins now, and schedules the next.
            if (decided.delaySecs(now()) <= EARLY_SECS) delay((settleSecs * 1000).toLong())
            if (running != null) return
        }
        schedule(told().takeUnless { it.isOver }?.delaySecs(now()))
    }

    /** No session any more, and no trace of the last one. */
    suspend fun withdraw() {
        running?.cancel("the person took their consent back")
        Schedule.cancel(context, voice.config.jobId)
        between { voice.phone.alone { withdrawUnsent(files.session) } }
    }

    /** Runs [work] while no session does. */
    suspend fun <T> between(work: suspend () -> T): T = oneAtATime.withLock { work() }

    /** Notes in the books that something went wrong outside of a session. */
    fun note(code: String) {
        books.update { it.copy(lastError = code, updatedSecs = now()) }
    }

    private suspend fun work(overridden: Boolean): Outcome {
        val startedCpuSecs = cpuSecs()
        val today = books.read().today.at(now())
        val limitSecs = voice.config.dailyLimits.cpuSecs
        val shouldStop = {
            val spent = today.cpuSecs + cpuSecs() - startedCpuSecs >= limitSecs
            !voice.consent || (!overridden && spent)
        }
        return supervisorScope {
            val session =
                async { voice.phone.session(voice.config, voice.store(), overridden, shouldStop) }
            running = session
            val watch = launch { endWithoutConsent(session) }
            try {
                session.await()
            } finally {
                running = null
                watch.cancel()
            }
        }
    }

    /** Another process of the app may be the one in which the person takes their consent back. */
    private suspend fun endWithoutConsent(session: Job) {
        while (voice.consent) delay(LOOK_MILLIS)
        session.cancel("the person took their consent back")
    }

    /** Adds what [work] costs to the day, however it ends. */
    private suspend fun counted(said: (Traffic) -> Unit, work: suspend () -> Outcome): Outcome {
        val startedCpuSecs = cpuSecs()
        val earlier = voice.phone.traffic
        try {
            return work()
        } finally {
            val traffic = voice.phone.traffic.takeIf { it !== earlier } ?: Traffic()
            said(traffic)
            val spentSecs = cpuSecs() - startedCpuSecs
            books.update { it.copy(today = it.today.at(now()).plus(traffic, spentSecs)) }
        }
    }

    private fun failed(code: String, traffic: Traffic): Double? {
        tell(SessionRecord.of(code, traffic, now()))
        val failures =
            try {
                books.update { it.plusFailure(code, now(), traffic) }.failures
            } catch (error: IOException) {
                Log.e(TAG, "the books are not written", error)
                books.read().failures + 1
            }
        // Only a new invitation repairs a refusal: asking again would drain the battery.
        val refused = code == ErrorCode.BAD_CREDENTIALS.id
        val wish = if (refused) Wish.REFUSED else Wish.BACKOFF
        return decide(wish, Schedule.backoffSecs(failures, jitter()))
    }

    /** What [wish] comes to within the day's limits, kept; null: no session until an enrolment. */
    private fun decide(wish: Wish, delaySecs: Double): Double? {
        val now = now()
        val wanted = Pacing(now + delaySecs, wish, now)
        val day = books.read().today.at(now)
        val spent = voice.config.dailyLimits.reached(day) && wanted.nextContactSecs < day.endsSecs
        val before = pacing.read()
        val next =
            when {
                // A session that reached no server takes nothing back of what the server said.
                before != null && before.isOver && wish == Wish.BACKOFF -> before
                spent && !wanted.isOver -> Pacing(day.endsSecs, Wish.DAILY_LIMIT, now)
                else -> wanted
            }
        keep(next)
        return if (next.isOver) null else next.delaySecs(now)
    }

    /** What was decided, by the present clock; at once if nothing was. */
    private fun told(): Pacing {
        val now = now()
        val known = pacing.read()
        val told = known?.onClock(now) ?: Pacing(now, Wish.PERSON, now)
        if (told != known) keep(told)
        return told
    }

    private fun keep(decided: Pacing) {
        try {
            pacing.put(decided)
        } catch (error: IOException) {
            Log.e(TAG, "the next contact is not written", error)
        }
    }

    private fun tell(record: SessionRecord) {
        try {
            log.add(record)
        } catch (error: IOException) {
            Log.e(TAG, "the list of sessions is not written", error)
        }
    }

    private fun wishOf(outcome: Outcome): Wish =
        when {
            outcome.finished -> Wish.FINISHED
            outcome.happened in OWN_PAUSES -> Wish.BACKOFF
            else -> Wish.SERVER
        }

    private fun charge() = chargeMicroampHours(context)

    private fun now() = clock.wallSecs()

    private companion object {
        /** The system counts a job's time by another clock. */
        const val EARLY_SECS = 60.0
        const val LOOK_MILLIS = 500L
        val OWN_PAUSES =
            setOf(Happened.NOT_READY, Happened.INTERRUPTED, Happened.LEASE_EXPIRED)
    }
}

/** What a session took out of the battery; 0 where the phone does not say. */
internal fun spentMicroampHours(before: Long?, after: Long?): Long =
    if (before == null || after == null) 0 else before - after
