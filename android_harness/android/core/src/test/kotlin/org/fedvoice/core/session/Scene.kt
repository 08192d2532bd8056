package org.fedvoice.core.session

import com.google.protobuf.ByteString
import kotlinx.serialization.json.Json
import org.fedvoice.core.model.Codec
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.store.Audio
import org.fedvoice.core.store.ExampleStore
import org.fedvoice.core.store.NewExample
import org.fedvoice.core.store.Source
import org.fedvoice.core.store.Split
import org.fedvoice.core.store.StoredExample
import org.fedvoice.core.store.wavOf
import org.fedvoice.core.training.ProcMemory
import org.fedvoice.core.training.TinyEngine
import org.fedvoice.core.training.UsageCounts
import org.fedvoice.core.training.tinyManifest
import org.fedvoice.wire.Assignment
import org.fedvoice.wire.Blob
import org.fedvoice.wire.CheckInReply
import org.fedvoice.wire.CheckInRequest
import org.fedvoice.wire.Chunk
import org.fedvoice.wire.FetchRequest
import org.fedvoice.wire.Plan
import org.fedvoice.wire.ReportHeader
import org.fedvoice.wire.ReportReply
import org.fedvoice.wire.ReportRequest
import org.fedvoice.wire.ReportStatusReply
import org.fedvoice.wire.ReportStatusRequest
import org.fedvoice.wire.RetryWindow
import org.fedvoice.wire.Verdict
import org.fedvoice.wire.Work
import java.io.File
import java.util.ArrayDeque
import kotlin.math.min

internal val PROGRAM = ByteArray(5000) { (it % 251).toByte() }
internal val MANIFEST: TaskManifest = tinyManifest().copy(programDigest = Codec.digestOf(PROGRAM))
internal val MANIFEST_BYTES =
    Json.encodeToString(TaskManifest.serializer(), MANIFEST).toByteArray()
internal val WEIGHTS = Codec.encode(FloatArray(12) { it / 12f }, "float32")

internal fun blob(data: ByteArray, encoding: String = ""): Blob =
    Blob
        .newBuilder()
        .setDigest(Codec.digestOf(data))
        .setSizeBytes(data.size.toLong())
        .setEncoding(encoding)
        .build()

internal fun assignment(
    work: Work = Work.WORK_TRAIN,
    leaseSecs: Double = 1000.0,
    weights: Blob = blob(WEIGHTS, "float32"),
): CheckInReply {
    val plan =
        Plan
            .newBuilder()
            .setLocalEpochs(2)
            .setBatchSize(2)
            .setClientRate(0.1)
    val assignment =
        Assignment
            .newBuilder()
            .setAssignmentId("a1")
            .setRound(4)
            .setWork(work)
            .setLeaseSecs(leaseSecs)
            .setPlan(plan)
            .setManifest(blob(MANIFEST_BYTES))
            .setProgram(blob(PROGRAM))
            .setWeights(weights)
    return CheckInReply.newBuilder().setAssignment(assignment).build()
}

/** A server that answers by a script; lists are used up from the front. */
internal class ScriptedLink : ServerLink {
    override val server = "the script"
    val checkIns = ArrayDeque<CheckInReply>()
    val blobs = listOf(MANIFEST_BYTES, PROGRAM, WEIGHTS).associateBy(Codec::digestOf).toMutableMap()

    /** After how many bytes a Fetch breaks off. */
    val fetchCuts = ArrayDeque<Int>()
    val verdicts = ArrayDeque<Int>()
    val checkedIn = mutableListOf<CheckInRequest>()
    val fetches = mutableListOf<FetchRequest>()
    val reports = mutableListOf<Pair<ReportHeader, ByteArray>>()
    var down = false

    override suspend fun checkIn(request: CheckInRequest, timeoutSecs: Double): CheckInReply {
        up()
        checkedIn += request
        return checkIns.poll() ?: CheckInReply.newBuilder().setRetry(SOON).build()
    }

    override suspend fun reportStatus(
        request: ReportStatusRequest,
        timeoutSecs: Double,
    ): ReportStatusReply {
        up()
        return ReportStatusReply.getDefaultInstance()
    }

    override suspend fun fetch(
        request: FetchRequest,
        timeoutSecs: Double,
        onChunk: (Chunk) -> Unit,
    ) {
        up()
        fetches += request
        val data = blobs.getValue(request.digest)
        val cut = fetchCuts.poll() ?: data.size
        val start = request.offset.toInt()
        val end = min(data.size, start + cut)
        if (end > start) {
            val part = ByteString.copyFrom(data, start, end - start)
            onChunk(Chunk.newBuilder().setData(part).build())
        }
        if (end < data.size) throw CallFailure(FailureKind.TRANSIENT, "UNAVAILABLE", "cut")
    }

    override suspend fun report(
        messages: Iterator<ReportRequest>,
        timeoutSecs: Double,
    ): ReportReply {
        up()
        val header = messages.next().header
        val payload = messages.asSequence().map { it.chunk.data }.toList()
        val bytes = payload.fold(ByteString.EMPTY, ByteString::concat).toByteArray()
        reports += header to bytes
        val verdict = verdicts.poll() ?: Verdict.VERDICT_ACCEPTED_VALUE
        return ReportReply
            .newBuilder()
            .setVerdictValue(verdict)
            .setRetry(SOON)
            .build()
    }

    private fun up() {
        if (down) throw CallFailure(FailureKind.TRANSIENT, "UNAVAILABLE", "nobody there")
    }

    companion object {
        val SOON: RetryWindow =
            RetryWindow
                .newBuilder()
                .setMinSecs(2.0)
                .setMaxSecs(4.0)
                .build()
    }
}

/** Clocks that a test sets. */
internal class HandClock : Clock {
    var wall = 1e9
    var elapsed = 50.0

    override fun wallSecs(): Double = wall

    override fun elapsedSecs(): Double = elapsed

    fun pass(secs: Double) {
        wall += secs
        elapsed += secs
    }
}

/** A store in memory: [train] and [test] recordings of noise. */
internal class ListStore(train: Int, test: Int) : ExampleStore {
    val used = mutableMapOf<Long, MutableList<Int>>()
    val rows =
        MutableList(train + test) { i ->
            val split = if (i < train) Split.TRAIN else Split.TEST
            val word = if (i % 2 == 0) "yes" else "no"
            StoredExample(i + 1L, null, RATE, SAMPLES, word, Source.OWN, split, 0.0)
        }

    override fun addAll(examples: List<NewExample>): List<Long> = error("not needed")

    override fun examples(split: Split): List<StoredExample> = rows.filter { it.split == split }

    override fun count(split: Split): Int = examples(split).size

    override fun heldBytes(): Long = 0

    override fun audio(example: StoredExample): Audio {
        val random = java.util.Random(example.id)
        return Audio.Held(wavOf(ShortArray(SAMPLES) { random.nextInt(1000).toShort() }, RATE))
    }

    override fun markUsed(ids: List<Long>, round: Int) {
        ids.forEach { used.getOrPut(it) { mutableListOf() } += round }
    }

    override fun roundsUsed(): Map<Long, List<Int>> = used

    override fun delete(id: Long) = error("not needed")

    override fun deleteAll() = error("not needed")

    private companion object {
        const val RATE = 16000
        const val SAMPLES = 900
    }
}

/** A phone with its belongings; [restart] is what is left after a kill. */
internal class Scene(private val directory: File) {
    val link = ScriptedLink()
    val clock = HandClock()
    val store = ListStore(train = 5, test = 3)
    val engines = mutableListOf<TinyEngine>()
    val slept = mutableListOf<Double>()
    val log = mutableListOf<String>()
    var conditions = Conditions()
    var requirements = Requirements()
    var phone = restart()

    fun restart(said: UsageCounts? = null): Phone {
        phone =
            Phone(
                "anna",
                File(directory, "anna"),
                store = store,
                link = link,
                engines = EngineCache(ProcMemory) { TinyEngine(it.manifest).also(engines::add) },
                blobs = BlobCache(File(directory, "blobs")),
                conditions = { conditions },
                memory = ProcMemory,
                settings =
                    SessionSettings(
                        requirements,
                        calls = CallPolicy(maxAttempts = 3, backoffSecs = 0.01),
                        checkpointSecs = 0.0,
                        graceSecs = 10.0,
                        recheckSecs = 7.0,
                    ),
                clock = clock,
                log = log::add,
                said = said,
                pause = { slept += it },
            )
        return phone
    }
}
