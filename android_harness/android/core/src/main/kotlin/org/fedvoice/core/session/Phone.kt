package org.fedvoice.core.session

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.delay
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.isActive
import kotlinx.coroutines.withContext
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Codec
import org.fedvoice.core.random.Purpose
import org.fedvoice.core.random.Stream
import org.fedvoice.core.store.ExampleStore
import org.fedvoice.core.store.Split
import org.fedvoice.core.training.Checkpoint
import org.fedvoice.core.training.FeatureCache
import org.fedvoice.core.training.MemoryMeter
import org.fedvoice.core.training.UsageCounts
import org.fedvoice.wire.Assignment
import org.fedvoice.wire.Blob
import org.fedvoice.wire.Capabilities
import org.fedvoice.wire.CheckInRequest
import org.fedvoice.wire.Reason
import org.fedvoice.wire.ReportReply
import org.fedvoice.wire.RetryWindow
import org.fedvoice.wire.Verdict
import java.io.File
import kotlin.math.max
import kotlin.math.min
import org.fedvoice.wire.Conditions as ConditionsMessage

/**
 * The runtime of one phone: check in, fetch, train or evaluate, report, wait.
 *
 * Each [runOnce] is one session at most and leaves the phone's folder such that a process killed at
 * any point can resume: a finished report is delivered before anything else, an assignment whose
 * lease still runs resumes at its checkpoint. The counterpart of `device_runtime/session.py`.
 *
 * One coroutine at a time; phones of a process may share link, engines and blob cache.
 *
 * @param clientId random, made at installation; no account, no telephone number
 * @param stateDir this phone's own folder; no other process may use it at the same time
 * @param said what was said before of the use of its examples, from its books; it is not said again
 * @param pause waits so many seconds between repeated calls
 */
class Phone(
    val clientId: String,
    private val stateDir: File,
    private val store: ExampleStore,
    private val link: ServerLink,
    private val engines: EngineCache,
    private val blobs: BlobCache,
    private val conditions: ConditionSource,
    memory: MemoryMeter,
    private val settings: SessionSettings = SessionSettings(),
    private val clock: Clock = SystemClock,
    private val log: (String) -> Unit = {},
    said: UsageCounts? = null,
    pause: suspend (Double) -> Unit = { delay((it * MILLIS).toLong()) },
) {
    private val held = HeldBlobs(File(stateDir, "held_blobs"), blobs)
    private val retryStream = Stream(0UL, clientId, 0, Purpose.RETRY)
    private val retries = Retries(settings.calls, retryStream, log, pause)
    private val line = Line(File(stateDir, "line"), clock)
    private val outbox = Outbox(stateDir)
    private val leases = Leases(AssignmentFile(stateDir), clock)
    private val checkpointFile = File(stateDir, CHECKPOINT)
    private val modelFile = ModelFile(stateDir)
    private val features = FeatureCache(settings.featureCacheBytes)
    private val worker = Worker(store, features, memory, log, said)
    private var featuresOf = ""

    init {
        stateDir.mkdirs()
    }

    /**
     * One session at most with the server. Cancelling the coroutine stops after the current step
     * and keeps the checkpoint, as [shouldStop] does, and breaks off a call that is under way.
     *
     * @param traffic where this session's bytes and calls are counted, however it ends
     * @param shouldStop polled between steps; true ends the session with a checkpoint
     * @throws FedvoiceException `server-unreachable`, `server-rejected`, `bad-credentials`,
     *   `no-space`, and what a bad package or plan gives. What was finished is kept.
     */
    suspend fun runOnce(
        traffic: Traffic = Traffic(),
        shouldStop: () -> Boolean = { false },
    ): Outcome {
        val calls = ServerCalls(link, settings.calls, retries, line, traffic)
        val outcome = roomOnDisk(stateDir) { run(calls, shouldStop) }
        return outcome.copy(
            bytesUp = traffic.bytesUp,
            bytesDown = traffic.bytesDown,
            attempts = traffic.attempts,
            usage = worker.usage,
        )
    }

    private suspend fun run(calls: ServerCalls, shouldStop: () -> Boolean): Outcome {
        val now = conditions.read()
        val missing = settings.requirements.missing(now)
        if (missing.isNotEmpty()) {
            return waiting(Happened.NOT_READY, detail = missing.joinToString())
        }
        outbox.pending()?.let { return deliver(calls, it, receivedBytes(calls, it)) }

        leases.current()?.let { if (it.over()) dropAssignment() }
        val lease =
            leases.current() ?: run {
                val request =
                    CheckInRequest
                        .newBuilder()
                        .setClientId(clientId)
                        .setCapabilities(capabilities())
                        .setConditions(withRates(now))
                        .addAllCachedDigests(held.digests())
                        .build()
                val reply = calls.checkIn(request)
                if (!reply.hasAssignment()) return withoutWork(reply.retry)
                leases.take(reply.assignment)
            }
        return try {
            work(calls, lease, shouldStop)
        } catch (_: LeaseOverException) {
            leaseOver(lease)
        } catch (error: FedvoiceException) {
            giveBack(calls, lease.assignment, error)
            throw error
        }
    }

    /** What another call may repair is kept for it; anything else would fail on every retry. */
    private suspend fun giveBack(
        calls: ServerCalls,
        assignment: Assignment,
        error: FedvoiceException,
    ) {
        if (error.code in MENDABLE) return
        dropAssignment()
        if (error.code == ErrorCode.SERVER_REJECTED) return
        try {
            calls.report(giveUp(clientId, assignment, 0), 0)
        } catch (next: FedvoiceException) {
            log("$clientId: the place was not given back: ${next.message}")
        }
    }

    private suspend fun work(
        calls: ServerCalls,
        lease: Lease,
        shouldStop: () -> Boolean,
    ): Outcome {
        val job = install(calls, lease)
        val interruption =
            Interruption(conditions, settings.requirements, settings.graceSecs, clock)
        val report =
            withContext(Dispatchers.Default) {
                val checkpoint = settings.checkpointSecs?.let { Checkpoint(checkpointFile, it) }
                worker.perform(job, checkpoint) {
                    shouldStop() || !isActive || interruption.check() || lease.over()
                }
            }
        if (report != null) {
            outbox.put(report)
            dropAssignment()
            return deliver(calls, report)
        }
        currentCoroutineContext().ensureActive()
        if (lease.over()) return leaseOver(lease)
        val reasons = interruption.reasons.joinToString().ifEmpty { "asked to stop" }
        return waiting(Happened.INTERRUPTED, lease.assignment.round, reasons)
    }

    /** The assignment's engine and weights [P], fetched as far as they are missing. */
    private suspend fun install(calls: ServerCalls, lease: Lease): Job {
        val assignment = lease.assignment
        val manifest = fetch(calls, assignment.manifest, lease)
        val program = fetch(calls, assignment.program, lease)
        val payload = fetch(calls, assignment.weights, lease)
        val digest = assignment.manifest.digest
        return withContext(Dispatchers.Default) {
            val loaded = engines.get(digest) { blobs.install(digest, manifest, program) }
            val size = loaded.engine.manifest.parameters.totalSize
            val where = "weights ${assignment.weights.digest.take(SHORT)}"
            val weights = Codec.decode(payload, assignment.weights.encoding, size, where)
            if (featuresOf != digest) {
                features.clear()
                featuresOf = digest
            }
            modelFile.put(assignment)
            Job(clientId, assignment, loaded, weights)
        }
    }

    /** A blob's bytes, checked. A wrong digest is tried a second time, then raised. */
    private suspend fun fetch(calls: ServerCalls, blob: Blob, lease: Lease): ByteArray {
        if (blob.digest in held.digests()) {
            blobs.read(blob.digest)?.let {
                held.use(blob.digest)
                return it
            }
        }
        val partial = blobs.partialFile(blob.digest, clientId)
        calls.fetch(blob, partial, clientId, lease)
        val data =
            try {
                blobs.adopt(partial, blob)
            } catch (error: FedvoiceException) {
                log("${error.message}, once more")
                calls.fetch(blob, partial, clientId, lease)
                blobs.adopt(partial, blob)
            }
        held.use(blob.digest)
        return data
    }

    /** How much of an earlier session's report the server has. */
    private suspend fun receivedBytes(calls: ServerCalls, report: PendingReport): Long {
        if (report.payload.isEmpty()) return 0
        val held = calls.reportStatus(statusRequest(report)).receivedBytes
        return min(held, report.payload.size.toLong())
    }

    /** Sends a report from [start] on until the server has answered it. */
    private suspend fun deliver(
        calls: ServerCalls,
        report: PendingReport,
        start: Long = 0,
    ): Outcome {
        val header = report.header
        var offset = start
        var reply = ReportReply.getDefaultInstance()
        var reaction = Reaction.DROP
        for (ignored in 1..settings.reportAttempts) {
            reply = calls.report(report, offset)
            reaction = reactionTo(reply.verdict)
            when (reaction) {
                Reaction.RESUME -> {
                    offset = receivedBytes(calls, report)
                }
                Reaction.RESEND -> {
                    offset = 0
                }
                Reaction.DROP, Reaction.WAIT -> {
                    break
                }
            }
        }
        val kept = reaction == Reaction.WAIT
        if (!kept) outbox.clear()
        val statistics = header.statistics
        val happened =
            when {
                reply.verdict == Verdict.VERDICT_ACCEPTED -> {
                    if (statistics.utterances > 0) Happened.EVALUATED else Happened.TRAINED
                }
                kept -> {
                    Happened.REPORT_KEPT
                }
                statistics.examples == 0 -> {
                    Happened.GAVE_UP
                }
                else -> {
                    Happened.REPORT_DROPPED
                }
            }
        val outcome = after(reply.retry, happened)
        return outcome.copy(
            finished = outcome.finished && !kept,
            round = header.round,
            statistics = statistics,
            verdict = reply.verdictValue,
            detail = reply.detail,
        )
    }

    private fun withRates(now: Conditions): ConditionsMessage =
        now
            .toMessage()
            .toBuilder()
            .setUpBytesPerSec(line.bytesPerSec(Way.UP).toInt()) // as unsigned as it is on the wire
            .setDownBytesPerSec(line.bytesPerSec(Way.DOWN).toInt())
            .build()

    private fun capabilities(): Capabilities =
        Capabilities
            .newBuilder()
            .setRuntimeVersion(settings.runtimeVersion)
            .setProtocolVersion(PROTOCOL_VERSION)
            .setTrainExamples(store.count(Split.TRAIN))
            .setTestExamples(store.count(Split.TEST))
            .addAllOperators(settings.operators)
            .addAllEncodings(Codec.ENCODINGS)
            .build()

    private fun withoutWork(retry: RetryWindow): Outcome {
        val slow = retry.reason == Reason.REASON_LINE_TOO_SLOW
        val happened = if (slow) Happened.LINE_TOO_SLOW else Happened.NO_WORK
        return after(retry, happened).copy(detail = retry.detail)
    }

    private fun leaseOver(lease: Lease): Outcome {
        dropAssignment()
        return waiting(Happened.LEASE_EXPIRED, lease.assignment.round)
    }

    /** An outcome with the next contact drawn uniformly from the server's window. */
    private fun after(retry: RetryWindow, happened: Happened): Outcome {
        val spanSecs = max(0.0, retry.maxSecs - retry.minSecs)
        return Outcome(
            happened,
            nextContactSecs = max(0.0, retry.minSecs) + spanSecs * retryStream.uniform(),
            finished = retry.finished,
        )
    }

    private fun waiting(happened: Happened, round: Int? = null, detail: String = "") =
        Outcome(happened, settings.recheckSecs, round = round, detail = detail)

    private fun dropAssignment() {
        leases.drop()
        checkpointFile.delete()
    }

    private companion object {
        const val PROTOCOL_VERSION = 1
        const val MILLIS = 1e3
        const val SHORT = 16
        val MENDABLE =
            setOf(ErrorCode.SERVER_UNREACHABLE, ErrorCode.NO_SPACE, ErrorCode.BAD_CREDENTIALS)
    }
}
