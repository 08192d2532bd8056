package org.fedvoice.core.session

import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Codec
import org.fedvoice.core.model.TrainingPlan
import org.fedvoice.core.store.ExampleStore
import org.fedvoice.core.store.Split
import org.fedvoice.core.store.StoredExample
import org.fedvoice.core.store.readWaveform
import org.fedvoice.core.training.Checkpoint
import org.fedvoice.core.training.Engine
import org.fedvoice.core.training.FeatureCache
import org.fedvoice.core.training.LocalExamples
import org.fedvoice.core.training.MemoryMeter
import org.fedvoice.core.training.TrainingStatus
import org.fedvoice.core.training.Usage
import org.fedvoice.core.training.UsageCounts
import org.fedvoice.core.training.evaluate
import org.fedvoice.core.training.train
import org.fedvoice.wire.Assignment
import org.fedvoice.wire.Blob
import org.fedvoice.wire.ReportHeader
import org.fedvoice.wire.Statistics
import org.fedvoice.wire.Work

/** One assignment, installed: weights [P] and the engine that takes them. */
internal class Job(
    val clientId: String,
    val assignment: Assignment,
    val loaded: LoadedEngine,
    val weights: FloatArray,
) {
    val engine: Engine get() = loaded.engine
}

/**
 * The work of one assignment on a phone: examples and weights in, a report out.
 *
 * @param said what was said before of the use of this phone's examples; null: nothing
 */
internal class Worker(
    private val store: ExampleStore,
    private val features: FeatureCache,
    private val memory: MemoryMeter,
    private val log: (String) -> Unit,
    said: UsageCounts? = null,
) {
    /** Of the examples to train on, as the last training had them; [said] before the first. */
    var usage: UsageCounts? = said
        private set

    /** Trains or evaluates; null if [shouldStop] ended it. */
    fun perform(job: Job, checkpoint: Checkpoint?, shouldStop: () -> Boolean): PendingReport? =
        if (job.assignment.work == Work.WORK_EVALUATE) {
            evaluated(job, shouldStop)
        } else {
            trained(job, checkpoint, shouldStop)
        }

    private fun examplesOf(job: Job, split: Split): LocalExamples<StoredExample> =
        LocalExamples(job.engine, store.examples(split), features) { row ->
            readWaveform(store.audio(row), job.engine.manifest.features, row.where)
        }

    /** Once, and again when the numbers are others: a round is no news. */
    private fun say(clientId: String, found: Usage) {
        val before = usage ?: UsageCounts()
        // While nothing is left out, as before, one more example is no news either.
        val matters = found.skipped > 0 || before.skipped > 0
        if (matters && found.counts != before) log("$clientId: ${found.describe()}")
        usage = found.counts
    }

    private fun trained(
        job: Job,
        checkpoint: Checkpoint?,
        shouldStop: () -> Boolean,
    ): PendingReport? {
        val plan = TrainingPlan.fromMessage(job.assignment.plan)
        val examples = examplesOf(job, Split.TRAIN)
        say(job.clientId, examples.usage)
        val result =
            train(
                engine = job.engine,
                examples = examples,
                plan = plan,
                initial = job.weights,
                clientId = job.clientId,
                round = job.assignment.round,
                checkpoint = checkpoint,
                memory = memory,
                memoryBaselineBytes = job.loaded.memoryBaselineBytes,
                shouldStop = shouldStop,
            )
        if (result.status == TrainingStatus.STOPPED) return null
        val skipped = result.statistics.skippedExamples + examples.skipped
        val delta = result.delta
        if (delta == null) {
            log("${job.clientId}: ${result.status.name.lowercase()}, ${result.detail}")
            return giveUp(job.clientId, job.assignment, skipped)
        }
        val payload =
            try {
                Codec.encode(delta, plan.updateEncoding)
            } catch (error: FedvoiceException) {
                log("${job.clientId}: ${error.message}")
                return giveUp(job.clientId, job.assignment, skipped)
            }
        store.markUsed(result.used.map { examples.recordings[it].id }, job.assignment.round)
        val statistics =
            result.statistics
                .toBuilder()
                .setSkippedExamples(skipped)
                .build()
        return report(job.clientId, job.assignment, statistics, payload, plan.updateEncoding)
    }

    private fun evaluated(job: Job, shouldStop: () -> Boolean): PendingReport? {
        val examples = examplesOf(job, Split.TEST)
        val counts =
            evaluate(
                job.engine,
                examples,
                job.weights,
                memory,
                job.loaded.memoryBaselineBytes,
                shouldStop,
            ) ?: return null
        val skipped = counts.skippedExamples + examples.skipped
        if (counts.utterances == 0) return giveUp(job.clientId, job.assignment, skipped)
        val statistics = counts.toBuilder().setSkippedExamples(skipped).build()
        return report(job.clientId, job.assignment, statistics)
    }
}

/**
 * A report of no work done: the server refuses it and gives the place away at once, instead of
 * waiting for the lease to run out.
 */
internal fun giveUp(clientId: String, assignment: Assignment, skipped: Int): PendingReport =
    report(clientId, assignment, Statistics.newBuilder().setSkippedExamples(skipped).build())

private fun report(
    clientId: String,
    assignment: Assignment,
    statistics: Statistics,
    payload: ByteArray = ByteArray(0),
    encoding: String = "",
): PendingReport {
    // Derived, not drawn: a process that repeats the work after a crash reports it under the
    // same name, and it cannot count twice.
    val name = "$clientId|${assignment.assignmentId}".toByteArray()
    val blob =
        Blob
            .newBuilder()
            .setDigest(if (payload.isEmpty()) "" else Codec.digestOf(payload))
            .setSizeBytes(payload.size.toLong())
            .setEncoding(encoding)
    val header =
        ReportHeader
            .newBuilder()
            .setClientId(clientId)
            .setAssignmentId(assignment.assignmentId)
            .setReportId(Codec.digestOf(name).take(REPORT_ID_LENGTH))
            .setRound(assignment.round)
            .setPayload(blob)
            .setStatistics(statistics)
            .build()
    return PendingReport(header, payload)
}

private const val REPORT_ID_LENGTH = 32
